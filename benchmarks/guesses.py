"""Whether the time of a refusal tells if an account exists."""

import os
import uuid
from typing import Any

from benchmarks.harness import Options, run_load
from benchmarks.processes import HOST
from benchmarks.report import Part, spread
from benchmarks.stats import Goal, Outcome, percentile, same_distribution
from benchmarks.world import World

GUESSES = 200

A8_SLOWER = Goal("A8", "median time of a wrong password for an account beside that for none", most=1.05)
A8_FASTER = Goal("A8", "the same, from below", least=0.95)
A8_SHAPE = Goal("A8", "p of the Kolmogorov-Smirnov test that both are one distribution, all rounds", least=0.01)


def measure(world: World, options: Options) -> Part:
    print(f"auth: {GUESSES} guesses at accounts and at none")
    rounds: list[dict[str, Any]] = []
    for number in range(options.rounds):
        plan = {
            "host": HOST,
            "port": world.port("auth"),
            # An account is guessed at once: the second guess would be slowed down, which is another promise.
            "known": [person.email for person in world.register(GUESSES)],
            "unknown": [f"{uuid.uuid4().hex}@example.com" for _ in range(GUESSES)],
            "offset": number * 2 * GUESSES,
        }
        rounds.append(run_load("benchmarks.load.guesses", plan, cores=os.sched_getaffinity(0), parts={})[0])
    medians = [percentile(each["known"], 0.5) / percentile(each["unknown"], 0.5) for each in rounds]
    both = [[taken for each in rounds for taken in each[kind]] for kind in ("known", "unknown")]
    refused = sum(each["operations"] for each in rounds)
    return Part(
        outcomes=[
            Outcome(A8_SLOWER, medians),
            Outcome(A8_FASTER, medians),
            Outcome(A8_SHAPE, [same_distribution(*both)]),
        ],
        notes=[
            f"{refused} of {2 * GUESSES * options.rounds} guesses were refused as wrong;"
            f" {spread([percentile(each['known'], 0.5) for each in rounds])} ms each.",
        ],
    )
