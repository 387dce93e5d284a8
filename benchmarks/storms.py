"""Two thousand sockets are cut off at once and come back, beside what a reload over HTTP would ask of PostgreSQL."""

import asyncio
import re
import time
from typing import Any

import httpx2

from benchmarks import cpu
from benchmarks.harness import Options, Sample, Subject, alternate, run_load
from benchmarks.load.storing import furnish
from benchmarks.processes import HOST
from benchmarks.report import Part, Table, spread
from benchmarks.sides import Side
from benchmarks.stats import Goal, Outcome
from benchmarks.world import World

SOCKETS = 2000
STREAMS = 20
CONVERSATIONS = 1000
PEOPLE = 200
SAMPLE = 20
RATE = 200

P12_TIME = Goal(
    "chat P12", f"seconds until {SOCKETS} sockets of {STREAMS} streams are back with all they missed", most=30
)
P12_QUERIES = Goal("chat P12", "statements sent to PostgreSQL for it, beside a reload over HTTP", most=0.1)
P12_GAPS = Goal("chat P12", "events missing, twice or not arrived afterwards", most=0)


class Town:
    """People and conversations of a storm; all are members of all."""

    def __init__(self, world: World) -> None:
        database = world.stack.world.databases["chat"]
        self.conversations, self.people = asyncio.run(furnish(database, CONVERSATIONS, PEOPLE))
        self.tokens = [world.token(str(person)) for person in self.people]


class Storm:
    def __init__(self, side: Side, town: Town) -> None:
        self.side = side
        self.town = town

    def queries(self) -> float:
        port = self.side.world.stack.addresses.metrics["chat"]
        text = httpx2.get(f"http://{HOST}:{port}/metrics", trust_env=False).text
        found = re.search(r'^parley_database_queries_total\{service="chat"\} (\S+)', text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def __call__(self) -> Sample:
        seen: dict[str, tuple[float, float]] = {}

        def note(mark: str = "begin") -> None:
            seen[mark] = (time.perf_counter(), self.queries())

        plan: dict[str, Any] = {
            "host": HOST,
            "port": self.side.server.port,
            "tokens": self.town.tokens,
            "senders": self.town.tokens[:10],
            "conversations": [str(c) for c in self.town.conversations],
            "sockets": SOCKETS,
            "streams": STREAMS,
            "rate": RATE,
            "calm": 3.0,
            "away": 3.0,
            "at_once": 200,
        }
        # No core is anybody's own here: what must be back soon is everything together.
        cores = self.side.world.cores.subject | self.side.world.cores.others
        answer, used = run_load(
            "benchmarks.load.storm",
            plan,
            cores=cores,
            parts={"service": self.side.server.pids[:1]},
            on_begin=note,
            on_mark=note,
        )
        # What the writers cost meanwhile is not the storm's.
        calm = (seen["calm"][1] - seen["begin"][1]) / (seen["calm"][0] - seen["begin"][0])
        lasted = seen["resumed"][0] - seen["dropped"][0]
        asked = max(0.0, seen["resumed"][1] - seen["dropped"][1] - calm * lasted)
        wrong = answer["gaps"] + answer["duplicates"] + answer["behind"] + answer["limited"]
        extra = {"queries": asked, "limited": answer["limited"], "tries": answer["tries"]}
        return Sample(SOCKETS, answer["back"], cpu=used, errors=wrong, extra=extra)


def naive(side: Side, town: Town) -> float:
    """Statements for one client that loads its list and the newest page of each conversation anew."""
    asked = 0
    address = f"http://{HOST}:{side.server.port}/api/v1/conversations"
    for token in town.tokens[:SAMPLE]:
        with httpx2.Client(headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False) as http:
            paths = ["", *(f"/{c}/messages" for c in town.conversations[:STREAMS])]
            for path in paths:
                answer = http.get(address + path)
                answer.raise_for_status()
                asked += int(answer.headers["X-Database-Queries"])
    return asked / SAMPLE


def measure(found: dict[str, Side], options: Options) -> Part:
    side = found["ours"]
    town = Town(side.world)
    cpu.pin([*side.server.pids, *side.second.pids], side.world.cores.subject | side.world.cores.others)
    print(f"chat: {SOCKETS} sockets come back at once")
    storm = Subject(side.name, Storm(side, town))
    alternate([storm], Options(min(3, options.rounds), quick=options.quick, max_load=options.max_load))
    reload = naive(side, town) * SOCKETS
    asked = storm.all(lambda sample: sample.extra["queries"])
    back = storm.all(lambda sample: sample.wall)
    table = Table(["subject", "seconds until all are back", "statements", "statements of a reload", "limited", "tries"])
    limited = spread(storm.all(lambda sample: sample.extra["limited"]), 0)
    tries = spread(storm.all(lambda sample: sample.extra["tries"]), 0)
    table.rows.append([side.name, spread(back), spread(asked, 0), f"{reload:.0f}", limited, tries])
    return Part(
        outcomes=[
            Outcome(P12_TIME, back),
            Outcome(P12_QUERIES, [each / reload for each in asked]),
            Outcome(P12_GAPS, storm.all(lambda sample: sample.errors)),
        ],
        figures=[(f"{SOCKETS} sockets x {STREAMS} streams come back after 3 s, {RATE} messages/s go on:", table)],
        notes=[
            f"A reload is the list of conversations and the newest page of each: {reload / SOCKETS:.0f} statements."
        ],
    )
