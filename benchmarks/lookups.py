"""What the gateway looks up for each request, in a process of its own."""

import os
from typing import Any

from benchmarks.harness import Options, run_load
from benchmarks.report import Part, Table, spread
from benchmarks.stats import Goal, Outcome

P7 = Goal("gateway P7", "limits and revocation in one call, beside a PING of the same connection", most=1.8)
P7_RATE = Goal("gateway P7", "such calls a second of one process, fifty at once", least=40_000)
P14_FLAT = Goal("gateway P14", "us to find a country for the first time, flat file", most=1.5)
P14_NESTED = Goal("gateway P14", "the same with the records of GeoIP2", most=8.0)
P14_AGAIN = Goal("gateway P14", "us to find it again", most=0.2)


def measure(redis_url: str, options: Options) -> Part:
    print("gateway: look-ups")
    found: list[dict[str, Any]] = []
    for _ in range(options.rounds):
        answer, _ = run_load(
            "benchmarks.load.lookups", {"redis_url": redis_url}, cores=os.sched_getaffinity(0), parts={}
        )
        found.append(answer)

    def all_of(name: str) -> list[float]:
        return [each[name] for each in found]

    table = Table(["look-up", "us"])
    names = {
        "flat": "country, flat file",
        "nested": "country, records of GeoIP2",
        "again": "country, seen before",
        "ping": "PING",
        "check": "two limits and revocation",
    }
    table.rows += [[text, spread(all_of(name))] for name, text in names.items()]
    return Part(
        outcomes=[
            Outcome(P7, [each["check"] / each["ping"] for each in found]),
            Outcome(P7_RATE, all_of("checks")),
            Outcome(P14_FLAT, all_of("flat")),
            Outcome(P14_NESTED, all_of("nested")),
            Outcome(P14_AGAIN, all_of("again")),
        ],
        figures=[("Countries in CPU time, calls of Redis one after the other in wall time:", table)],
    )
