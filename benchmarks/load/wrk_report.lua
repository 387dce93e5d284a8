-- One JSON line in place of wrk's text. The token comes by environment so that no process list shows it.
local token = os.getenv("BENCH_TOKEN")
if token then wrk.headers["Authorization"] = "Bearer " .. token end

done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '{"operations": %d, "wall": %.6f, "p50": %.4f, "p99": %.4f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    e.connect + e.read + e.write + e.timeout + e.status))
end
