"""Logins beside the limit that no login can pass: the same cores doing nothing but hashing."""

import asyncio
import os

import asyncpg
import bcrypt

from benchmarks.harness import Options, Sample, Subject, alternate, run_load
from benchmarks.processes import HOST
from benchmarks.report import Part, figures, spread
from benchmarks.stats import Goal, Outcome, pair_ratios
from benchmarks.world import PASSWORD, World

CONNECTIONS = 16
FEW_CONNECTIONS = 6
# So many that nobody comes to more sessions than an account may have.
PEOPLE = 240
PROBE = "/health/live"

P10 = Goal("auth P10", "logins/s beside bare argon2id on all cores", least=0.85)
P10_OTHERS = Goal("auth P10", "p99 of another route while logins saturate the cores, beside its p99 at rest", most=2.0)
P11 = Goal(
    "auth P11", "logins/s with bcrypt hashes (cost 12), which each login replaces, beside bare bcrypt", least=0.85
)


def hashes(options: Options, algorithm: str) -> Sample:
    plan = {"threads": len(os.sched_getaffinity(0)), "seconds": options.seconds, "algorithm": algorithm}
    answer, used = run_load("benchmarks.load.hashes", plan, cores=os.sched_getaffinity(0), parts={}, itself=True)
    return sample_of(answer, used)


def sample_of(answer: dict[str, float], used: dict[str, float]) -> Sample:
    return Sample(
        operations=answer["operations"],
        wall=answer["wall"],
        cpu=used,
        p50=answer["p50"],
        p99=answer["p99"],
        errors=answer["errors"],
        extra={name: answer[name] for name in ("probe_p50", "probe_p99") if name in answer},
    )


class Logins:
    def __init__(self, world: World, options: Options) -> None:
        self.world = world
        self.options = options
        self.requests = [
            {
                "method": "POST",
                "path": "/api/v1/auth/token",
                "headers": {"X-Device-Token": person.device},
                "body": {"email": person.email, "password": PASSWORD},
            }
            for person in world.register(PEOPLE)
        ]

    def __call__(self, connections: int = CONNECTIONS) -> Sample:
        plan = {
            "host": HOST,
            "port": self.world.port("auth"),
            "connections": connections,
            "seconds": self.options.seconds,
            "warmup": 1.0,
            "requests": self.requests,
            "probe": PROBE,
        }
        parts = {"service": self.world.pids(), "databases": self.world.databases}
        answer, used = run_load("benchmarks.load.http", plan, cores=os.sched_getaffinity(0), parts=parts)
        sample = sample_of(answer, used)
        return sample.checked("logins") if connections else sample

    def at_rest(self) -> Sample:
        return self(connections=0)

    def imported(self) -> Sample:
        """Everybody comes from a system that hashed with bcrypt. None of them signs in twice."""
        ours = asyncio.run(self.rehash(bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(12)).decode()))
        sample = self(FEW_CONNECTIONS)
        # What comes next is measured with hashes of ours again, in whatever order.
        asyncio.run(self.rehash(ours))
        return sample

    async def rehash(self, stored: str) -> str:
        """From now on everybody's password is stored so. Returns how one was stored until now."""
        connection = await asyncpg.connect(self.world.stack.world.databases["auth"])
        before = await connection.fetchval("SELECT hash FROM passwords LIMIT 1")
        await connection.execute("UPDATE passwords SET hash = $1", stored)
        await connection.close()
        return str(before)


def measure(world: World, options: Options) -> Part:
    limit = Subject("bare argon2id, a thread a core", lambda: hashes(options, "argon2id"))
    slow_limit = Subject("bare bcrypt, a thread a core", lambda: hashes(options, "bcrypt"))
    logins = Logins(world, options)
    ours = Subject("POST /api/v1/auth/token", logins)
    rest = Subject("at rest, the probe alone", logins.at_rest)
    old = Subject("the same, with bcrypt hashes", logins.imported)
    print(f"auth: {CONNECTIONS} connections sign in")
    alternate([limit, ours, rest, slow_limit, old], options)
    rates = pair_ratios(ours.all(lambda sample: sample.rate), limit.all(lambda sample: sample.rate))
    others = pair_ratios(ours.all(probe_p99), rest.all(probe_p99))
    imported = pair_ratios(old.all(lambda sample: sample.rate), slow_limit.all(lambda sample: sample.rate))
    table = figures([limit, ours, slow_limit, old], operation="login", parts=["service", "databases"])
    return Part(
        outcomes=[Outcome(P10, rates), Outcome(P10_OTHERS, others), Outcome(P11, imported)],
        figures=[(f"{CONNECTIONS} connections sign in, all cores:", table)],
        notes=[
            "argon2id with 19 MiB, two passes, one lane.",
            f"{PEOPLE} people sign in by turns, on devices that they used before; those with bcrypt hashes over"
            f" {FEW_CONNECTIONS} connections, for nobody waits longer than two seconds.",
            f"p99 of `GET {PROBE}`, asked 20 times a second: {spread(ours.all(probe_p99))} ms while saturated,"
            f" {spread(rest.all(probe_p99))} ms at rest.",
        ],
    )


def probe_p99(sample: Sample) -> float:
    return sample.extra["probe_p99"]
