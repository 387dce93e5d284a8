-- Webhooks that were signed before: each line of the file that HOOKS names is a signature, a tab and a body.
local signed, next_one = {}, 0

function init()
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  for line in io.lines(os.getenv("HOOKS")) do signed[#signed + 1] = line end
end

function request()
  next_one = next_one + 1
  -- The same one twice would be cheaper: better none, which the other side refuses.
  local line = signed[next_one] or "none\t{}"
  local tab = line:find("\t", 1, true)
  wrk.headers["X-Hub-Signature-256"] = line:sub(1, tab - 1)
  return wrk.format(nil, nil, nil, line:sub(tab + 1))
end

dofile(os.getenv("REPORT"))
