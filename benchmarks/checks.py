"""Checking an access token in the process of a service."""

import os
from typing import Any

from benchmarks.harness import Options, run_load
from benchmarks.report import Part, Table, spread
from benchmarks.stats import Goal, Outcome
from benchmarks.world import World

P9_HIT = Goal("auth P9", "us to check a token that was seen before", most=0.5)
P9_MISS = Goal("auth P9", "a new token beside bare joserfc with the same claims checked, HS256", most=1.25)
P9_MISS_EC = Goal("auth P9", "the same with ES256", most=1.25)
P9_REVOKED = Goal("auth P9", "us to look whether its session has ended, among 10,000", most=0.2)


def measure(_world: World, options: Options) -> Part:
    print("auth: tokens are checked")
    rounds: list[dict[str, Any]] = []
    for _ in range(options.rounds):
        answer, _ = run_load("benchmarks.load.checks", {}, cores=os.sched_getaffinity(0), parts={})
        rounds.append(answer)
    by_alg = {alg: [each[alg] for each in rounds] for alg in ("HS256", "ES256")}
    table = Table(["algorithm", "seen before, us", "new, us", "bare joserfc, us", "ended?, us"])
    for alg, found in by_alg.items():
        columns = [spread([each[name] for each in found]) for name in ("hit", "miss", "bare", "revocation")]
        table.rows.append([alg, *columns])
    misses = {alg: [each["miss"] / each["bare"] for each in found] for alg, found in by_alg.items()}
    return Part(
        outcomes=[
            Outcome(P9_HIT, [each["hit"] for each in by_alg["HS256"]]),
            Outcome(P9_MISS, misses["HS256"]),
            Outcome(P9_MISS_EC, misses["ES256"]),
            Outcome(P9_REVOKED, [each["revocation"] for each in by_alg["HS256"]]),
        ],
        figures=[("Checking an access token, CPU time in one process:", table)],
    )
