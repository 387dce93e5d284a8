"""Refreshes beside the one durable statement that each of them is, and five tabs that refresh at once."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2

from benchmarks.harness import Options, Sample, Subject, alternate, run_load
from benchmarks.processes import HOST
from benchmarks.report import Part, figures, spread
from benchmarks.stats import Goal, Outcome, pair_ratios
from benchmarks.world import PASSWORD, World

CONNECTIONS = 16
TABS = 5
# Each session may be refreshed 120 times a minute.
SESSIONS = 400
PEOPLE = 40

P12 = Goal("auth P12", "refreshes/s beside a bare asyncpg UPDATE .. RETURNING of the same table", least=0.5)
P12_TAIL = Goal("auth P12", "p99 of refreshes beside their p50", most=5.0)
P12_REUSE = Goal("auth P12", "false alarms of reuse in all refreshes by five tabs at once", most=0.0)


class Refreshes:
    def __init__(self, world: World, options: Options) -> None:
        self.world = world
        self.options = options
        people = [person.email for person in world.register(PEOPLE)]
        with ThreadPoolExecutor(4) as pool:
            self.tokens = list(pool.map(self.sign_in, (people[n % PEOPLE] for n in range(SESSIONS))))

    def sign_in(self, email: str) -> str:
        body = {"email": email, "password": PASSWORD}
        answer = httpx2.post(f"{self.world.stack.address('auth')}/api/v1/auth/token", json=body, timeout=30)
        answer.raise_for_status()
        return str(answer.json()["refresh"])

    def chain(self) -> Sample:
        return self.run(groups=CONNECTIONS, tabs=1)

    def tabs(self) -> Sample:
        return self.run(groups=CONNECTIONS // 4, tabs=TABS)

    def run(self, *, groups: int, tabs: int) -> Sample:
        plan = {
            "host": HOST,
            "port": self.world.port("auth"),
            "groups": groups,
            "tabs": tabs,
            "tokens": self.tokens,
            "seconds": self.options.seconds,
            "warmup": 0.5,
        }
        parts = {"service": self.world.pids(), "databases": self.world.databases}
        answer, used = run_load("benchmarks.load.refresh", plan, cores=os.sched_getaffinity(0), parts=parts)
        self.tokens = answer["tokens"]
        return sample_of(answer, used).checked("refreshes")

    def update(self) -> Sample:
        plan = {
            "database": self.world.stack.world.databases["auth"],
            "connections": CONNECTIONS,
            "seconds": self.options.seconds,
        }
        parts = {"databases": self.world.databases}
        answer, used = run_load("benchmarks.load.update", plan, cores=os.sched_getaffinity(0), parts=parts)
        return sample_of(answer, used)


def sample_of(answer: dict[str, Any], used: dict[str, float]) -> Sample:
    return Sample(answer["operations"], answer["wall"], used, answer["p50"], answer["p99"], answer["errors"])


def measure(world: World, options: Options) -> Part:
    refreshes = Refreshes(world, options)
    limit = Subject("UPDATE .. RETURNING", refreshes.update)
    ours = Subject("POST /api/v1/auth/token/refresh", refreshes.chain)
    tabs = Subject(f"the same by {TABS} tabs at once", refreshes.tabs)
    print(f"auth: {CONNECTIONS} connections refresh")
    alternate([limit, ours, tabs], options)
    rates = pair_ratios(ours.all(lambda sample: sample.rate), limit.all(lambda sample: sample.rate))
    tails = pair_ratios(ours.all(lambda sample: sample.p99), ours.all(lambda sample: sample.p50))
    alarms = tabs.all(lambda sample: sample.errors)
    done = sum(tabs.all(lambda sample: sample.operations))
    table = figures([limit, ours, tabs], operation="refresh", parts=["service", "databases"])
    return Part(
        outcomes=[Outcome(P12, rates), Outcome(P12_TAIL, tails), Outcome(P12_REUSE, alarms)],
        figures=[(f"{CONNECTIONS} connections refresh, all cores:", table)],
        notes=[
            f"{done:.0f} refreshes by {TABS} tabs at once, {spread(alarms, 0)} false alarms a round. A latency there is"
            " that of the slowest tab.",
        ],
    )
