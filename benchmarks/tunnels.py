"""Sockets through a door: what a round trip costs it, and what an idle tunnel weighs, beside nginx."""

import resource
import sys
from collections.abc import Mapping

from benchmarks import cpu, peers
from benchmarks.harness import LoadFailed, Options, Sample, Subject, alternate, run_load
from benchmarks.processes import HOST, Servers, free_port
from benchmarks.report import Part, Table, figures, spread
from benchmarks.stats import Goal, Outcome, pair_ratios

SOCKETS = 50
IDLE = 20_000
# Two descriptors a tunnel, and some for the rest.
_SPARE = 2000

P6 = Goal("gateway P6", f"CPU per round trip of a socket ({SOCKETS} of them), beside nginx", most=1.3)
P6_WEIGHT = Goal("gateway P6", "KiB that an idle tunnel weighs", most=4.0)


def doors(servers: Servers, cores: cpu.Cores, env: Mapping[str, str]) -> dict[str, peers.Upstream]:
    """`env`: of our gateway, without policy."""
    target = free_port()
    behind = [sys.executable, "-m", "benchmarks.load.switching", str(target)]
    servers.serve(behind, target, name="switching", cores=cores.others)
    found: dict[str, peers.Upstream] = {}
    nginx = peers.program("nginx")
    if nginx is not None:
        port = free_port()
        config = peers.written("nginx_tunnel.conf", servers.scratch("nginx-tunnel"), port=port, target=target)
        argv = peers.nginx_command(nginx, config)
        found["nginx"] = peers.Upstream(port, servers.serve(argv, port, name="nginx-tunnel", cores=cores.subject))
    port = free_port()
    own = {**env, "GATEWAY_SOCKET_URLS": f"http://{HOST}:{target}", "GATEWAY_PORT": str(port)}
    argv = [sys.executable, "-m", "gateway", "serve"]
    found["ours"] = peers.Upstream(
        port, servers.serve(argv, port, name="ours-tunnel", cores=cores.subject, env={**own, **_MANY})
    )
    return found


_MANY = {
    "GATEWAY_MAX_CONNECTIONS": "1000000",
    "GATEWAY_MAX_CONNECTIONS_PER_ADDRESS": "1000000",
    "GATEWAY_MAX_SOCKETS_PER_ADDRESS": "1000000",
    "GATEWAY_SOCKET_SECONDS": "600",
}
_NAMES = {"nginx": "nginx, bare proxy", "ours": "Parley gateway"}


def plan(door: peers.Upstream) -> dict[str, object]:
    return {"protocol": "raw", "host": HOST, "port": door.port, "conversation": "tunnel"}


def talk(door: peers.Upstream, cores: cpu.Cores, seconds: float) -> Sample:
    answer, used = run_load(
        "benchmarks.load.echo",
        {**plan(door), "sockets": SOCKETS, "seconds": seconds},
        cores=cores.others,
        parts={"service": [door.pid]},
    )
    return Sample(answer["operations"], answer["wall"], cpu=used, p50=answer["p50"], p99=answer["p99"])


def weigh(door: peers.Upstream, cores: cpu.Cores, count: int) -> float:
    """KiB a tunnel."""
    seen: list[int] = []

    def note(_mark: str = "") -> None:
        seen.append(cpu.resident([door.pid]))

    quiet = {**plan(door), "what": "rest", "sockets": count, "settle": 2.0, "rest": 1.0}
    answer, _ = run_load("benchmarks.load.idle", quiet, cores=cores.others, parts={}, on_begin=note, on_mark=note)
    if answer["closed"]:
        raise LoadFailed(f"{answer['closed']} of {count} idle tunnels were closed")
    empty, _opened, settled, *_ = seen
    return (settled - empty) / count / 1024


def measure(servers: Servers, cores: cpu.Cores, env: Mapping[str, str], options: Options) -> Part:
    print("gateway: tunnels")
    found = doors(servers, cores, env)
    count = min(IDLE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - _SPARE) // 2)
    # First of all: a process keeps the memory that it once had.
    weights = {key: weigh(door, cores, count) for key, door in found.items()}
    subjects = {
        key: Subject(_NAMES[key], lambda door=door: talk(door, cores, options.seconds))  # type: ignore[misc]
        for key, door in found.items()
    }
    alternate(list(subjects.values()), options)
    nginx = subjects["nginx"].all(Sample.micros) if "nginx" in subjects else []
    table = Table(["subject", f"KiB a tunnel, {count} idle"])
    table.rows += [[_NAMES[key], spread([weight], 1)] for key, weight in weights.items()]
    return Part(
        outcomes=[
            Outcome(P6, pair_ratios(subjects["ours"].all(Sample.micros), nginx) if nginx else [], "nginx is missing"),
            Outcome(P6_WEIGHT, [weights["ours"]]),
        ],
        figures=[
            (
                f"{SOCKETS} sockets through a door, one question after the other:",
                figures(list(subjects.values()), operation="answer"),
            ),
            ("Idle tunnels:", table),
        ],
    )
