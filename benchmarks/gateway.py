"""The gateway beside nginx, HAProxy, Caddy and a FastAPI and httpx proxy: one small answer, one worker each."""

import json
import os
import secrets
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import OctKey

from benchmarks import cpu, lookups, machine, peers, tunnels, world
from benchmarks.harness import LoadFailed, Options, Sample, Subject, alternate, run_load
from benchmarks.processes import HOST, Servers, free_port
from benchmarks.report import Part, Section, attempt, figures
from benchmarks.stats import Goal, Outcome, pair_ratios

PATH = "/api/v1/users/me"
CONNECTIONS = 32
POLICY = Path(__file__).parent / "policies" / "gateway.yaml"
# One call of an address an hour.
STRICT = POLICY.with_name("strict.yaml")
REFUSING = "ours-refusing"
REPORT = Path(__file__).parent / "load" / "wrk_report.lua"

P1 = Goal("gateway P1", "CPU per request, no policy, beside nginx as a proxy", most=2.2)
P2 = Goal("gateway P2", "CPU per request, full policy, beside nginx as a bare proxy", most=4.0)
P2_CADDY = Goal("gateway P2", "the same beside Caddy as a bare proxy", most=1.0)
P3 = Goal("gateway P3", "CPU per request of FastAPI + 4 middlewares + httpx, beside ours with full policy", least=30)
P4 = Goal("gateway P4", "latency added at one connection, no policy, beside what nginx adds", most=2.0)
P4_FULL = Goal("gateway P4", "latency added with full policy, beside nginx + 1.5 Redis round trips", most=1.0)
P8 = Goal("gateway P8", "CPU of a refused request beside that of a forwarded one, full policy", most=0.6)
P8_CALLS = Goal("gateway P8", "calls of Redis for a refused request", most=0.02)
P5 = Goal("gateway P5", "requests/s of one worker, no policy, 32 connections, beside nginx", least=0.45)


@dataclass
class Door:
    """Something that answers requests: a proxy, or the upstream itself."""

    name: str
    port: int
    pid: int
    token: str | None = None


@dataclass
class Field:
    """The doors of this run and what could not be brought."""

    cores: cpu.Cores
    doors: dict[str, Door] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, key: str, name: str, where: peers.Upstream, *, token: str | None = None) -> None:
        self.doors[key] = Door(name, where.port, where.pid, token)


def measure(door: Door, *, connections: int, seconds: float, cores: set[int]) -> Sample:
    before = cpu.seconds([door.pid])
    if peers.program("wrk"):
        fire(door, connections=connections, seconds=min(1.0, seconds / 2), cores=cores)  # warm-up
        before = cpu.seconds([door.pid])
        answer = fire(door, connections=connections, seconds=seconds, cores=cores)
        used = {"service": cpu.seconds([door.pid]) - before}
    else:
        headers = {"Authorization": f"Bearer {door.token}"} if door.token else {}
        plan = {"host": HOST, "port": door.port, "connections": connections, "seconds": seconds, "warmup": 1.0}
        plan["requests"] = [{"path": PATH, "headers": headers}]
        answer, used = run_load("benchmarks.load.http", plan, cores=cores, parts={"service": [door.pid]})
    return Sample.of(answer, used).checked(door.name)


def fire(door: Door, *, connections: int, seconds: float, cores: set[int]) -> dict[str, float]:
    argv = [peers.program("wrk") or "wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "-s", str(REPORT)]
    done = subprocess.run(
        [*argv, f"http://{HOST}:{door.port}{PATH}"],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, **({"BENCH_TOKEN": door.token} if door.token else {})},
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def bring(servers: Servers) -> tuple[Field, world.World]:
    found = Field(cpu.Cores.split())
    databases = world.World(servers, cores=found.cores)
    direct = peers.upstream(servers, found.cores.others)
    found.add("direct", "upstream without a proxy", direct)
    bring_system(servers, found, direct.port)
    bring_fastapi(servers, found, direct.port, databases=databases)
    if world.installed("gateway"):
        bring_ours(found, direct.port, databases)
    else:
        found.notes.append("Ours was left out: this checkout has no gateway yet.")
    if not peers.program("wrk"):
        found.notes.append(f"{peers.missing('wrk')}: the load came from a Python client, which is slower than nginx.")
    return found, databases


def bring_system(servers: Servers, found: Field, target: int) -> None:
    bringers: dict[str, Callable[..., peers.Upstream]] = {
        "nginx": peers.nginx_proxy,
        "haproxy": peers.haproxy,
        "caddy": peers.caddy,
    }
    for name, bringer in bringers.items():
        if peers.program(name):
            found.add(name, f"{name}, bare proxy", bringer(servers, target, found.cores.subject))
        else:
            found.notes.append(f"{peers.missing(name)}.")


def bring_fastapi(servers: Servers, found: Field, target: int, *, databases: world.World) -> None:
    secret = secrets.token_urlsafe(48)
    env = {
        "PEER_UPSTREAM": f"http://{HOST}:{target}",
        "PEER_JWT_SECRET": secret,
        "PEER_REDIS_URL": databases.valkey.url,
    }
    env["PEER_COUNTRY_DATABASE"] = str(world.country_database(databases.folder))
    app = "fastapi_gateway:app"
    cores = found.cores.subject
    bare = peers.uvicorn(servers, app, name="fastapi-bare", cores=cores, env=env)
    found.add("fastapi", "FastAPI + httpx, bare", bare)
    full = peers.uvicorn(servers, app, name="fastapi-full", cores=cores, env={**env, "PEER_POLICY": "1"})
    claims = {"sub": str(uuid.uuid4()), "aud": "peer", "jti": uuid.uuid4().hex, "exp": int(time.time()) + 7200}
    token = jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(secret))
    found.add("fastapi-full", "FastAPI + 4 middlewares + httpx", full, token=token)


def without_policy(databases: world.World) -> dict[str, str]:
    return {
        **databases.stack.env("gateway"),
        "GATEWAY_METRICS_PORT": "0",
        "GATEWAY_EXEMPT_NETWORKS": "127.0.0.0/8",
    }


def bring_ours(found: Field, target: int, databases: world.World) -> None:
    """The same program three times: spared of limits, country and token by its settings, with everything, and with a
    limit that refuses all but the first call."""
    bare = {**without_policy(databases), "GATEWAY_AUTH_URLS": f"http://{HOST}:{target}"}
    full = {
        **bare,
        "GATEWAY_EXEMPT_NETWORKS": "",
        "GATEWAY_POLICY_FILE": str(POLICY),
        "GATEWAY_COUNTRY_DATABASE": str(world.country_database(databases.folder)),
    }
    token = databases.token(str(uuid.uuid4()))
    for key, name, env in (
        ("ours", "Parley gateway, no policy", bare),
        ("ours-full", "Parley gateway, full policy", full),
        (REFUSING, "Parley gateway, refusing", {**full, "GATEWAY_POLICY_FILE": str(STRICT)}),
    ):
        port = free_port()
        argv = [sys.executable, "-m", "gateway", "serve"]
        settings = {**env, "GATEWAY_PORT": str(port)}
        pid = databases.servers.serve(argv, port, name=key, cores=found.cores.subject, env=settings)
        found.add(key, name, peers.Upstream(port, pid), token=None if env is bare else token)


def refuse(door: Door, databases: world.World, *, seconds: float, cores: set[int]) -> Sample:
    """Every answer is 429, which is what is measured; `extra` has the calls of Redis for each."""
    fire(door, connections=CONNECTIONS, seconds=1.0, cores=cores)
    called, used = world.script_calls(databases.valkey.url), cpu.seconds([door.pid])
    answer = fire(door, connections=CONNECTIONS, seconds=seconds, cores=cores)
    used = cpu.seconds([door.pid]) - used
    if answer["errors"] < answer["operations"]:
        raise LoadFailed(f"{door.name}: {answer['operations'] - answer['errors']:.0f} requests passed")
    calls = (world.script_calls(databases.valkey.url) - called) / answer["operations"]
    return Sample(
        operations=answer["operations"],
        wall=answer["wall"],
        cpu={"service": used},
        p50=answer["p50"],
        p99=answer["p99"],
        extra={"calls": calls},
    )


def refusals(found: Field, databases: world.World, busy: dict[str, Subject], options: Options) -> Part:
    if not peers.program("wrk"):
        return Part(notes=["Not measured: refusals, which only wrk asks for fast enough."])
    print("gateway: refusals")
    door, cores = found.doors[REFUSING], found.cores.others
    subject = Subject(door.name, lambda: refuse(door, databases, seconds=options.seconds, cores=cores))
    alternate([subject], options)
    forwarded = busy["ours-full"].all(Sample.micros)
    return Part(
        outcomes=[
            Outcome(P8, pair_ratios(subject.all(Sample.micros), forwarded)),
            Outcome(P8_CALLS, subject.all(lambda sample: sample.extra["calls"])),
        ],
        figures=[("Refused with 429, 32 connections:", figures([subject], operation="refusal"))],
    )


def ratios(found: dict[str, Subject], ours: str, base: str, figure: Callable[[Sample], float]) -> list[float]:
    if ours not in found or base not in found:
        return []
    return pair_ratios(found[ours].all(figure), found[base].all(figure))


def added(found: dict[str, Subject], key: str) -> list[float]:
    """Milliseconds that a door adds to the upstream's own answer, round by round."""
    if key not in found:
        return []
    pairs = zip(found[key].samples, found["direct"].samples, strict=True)
    return [through.p50 - direct.p50 for through, direct in pairs]


def outcomes(busy: dict[str, Subject], quiet: dict[str, Subject], redis_ms: float) -> list[Outcome]:
    nginx_adds = added(quiet, "nginx")
    ours_adds, full_adds = added(quiet, "ours"), added(quiet, "ours-full")
    with_redis = [value + 1.5 * redis_ms for value in nginx_adds]
    found = [
        (P1, ratios(busy, "ours", "nginx", Sample.micros)),
        (P2, ratios(busy, "ours-full", "nginx", Sample.micros)),
        (P2_CADDY, ratios(busy, "ours-full", "caddy", Sample.micros)),
        (P3, ratios(busy, "fastapi-full", "ours-full", Sample.micros)),
        (P4, pair_ratios(ours_adds, nginx_adds) if ours_adds and nginx_adds else []),
        (P4_FULL, pair_ratios(full_adds, with_redis) if full_adds and nginx_adds else []),
        (P5, ratios(busy, "ours", "nginx", lambda sample: sample.rate)),
    ]
    return [Outcome(goal, values, "one side is missing, see the notes") for goal, values in found]


def rounds(found: Field, options: Options, *, connections: int, seconds: float) -> dict[str, Subject]:
    def subject(door: Door) -> Subject:
        cores = found.cores.others
        return Subject(door.name, lambda: measure(door, connections=connections, seconds=seconds, cores=cores))

    subjects = {key: subject(door) for key, door in found.doors.items() if key != REFUSING}
    alternate(list(subjects.values()), options)
    return subjects


def compare(options: Options) -> Section:
    with Servers() as servers:
        found, databases = bring(servers)
        print(f"gateway: {CONNECTIONS} connections")
        busy = rounds(found, options, connections=CONNECTIONS, seconds=options.seconds)
        print("gateway: one connection")
        quiet = rounds(found, options, connections=1, seconds=max(2.0, options.seconds / 2))
        redis_ms = world.redis_round_trip(databases.valkey.url)
        parts = [
            attempt(refusals, found, databases, busy, options),
            attempt(tunnels.measure, servers, found.cores, without_policy(databases), options),
            attempt(lookups.measure, databases.valkey.url, options),
        ]
    section = Section("gateway", "Gateway", described(), options.rounds, outcomes(busy, quiet, redis_ms))
    section.figures = [
        (f"{CONNECTIONS} connections, one worker each:", figures(list(busy.values()), operation="request")),
        ("One connection:", figures(list(quiet.values()), operation="request")),
    ]
    section.notes = [*found.notes, f"One Redis round trip took {redis_ms * 1000:.0f} us (median of 2,000)."]
    return section.add(parts)


def described() -> str:
    nginx, haproxy, caddy = peers.program("nginx"), peers.program("haproxy"), peers.program("caddy")
    return machine.describe(
        nginx=machine.version_of(nginx, "-v") if nginx else None,
        HAProxy=machine.version_of(haproxy, "-v") if haproxy else None,
        Caddy=machine.version_of(caddy, "version") if caddy else None,
    )
