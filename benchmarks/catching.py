"""Handing a hundred missed events to each of many clients, beside a server that reads and encodes for each alone.

The peer is PostgreSQL with a statement, a dictionary and `orjson`, which is what a page of messages costs anywhere.
Ours is what a resume of the service does: behind its log when nobody has asked for long, and behind what is kept in
memory when somebody has.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable

import asyncpg
import orjson

from benchmarks import cpu
from benchmarks.harness import LoadFailed, Options, Sample, Subject, alternate
from benchmarks.load.storing import furnish
from benchmarks.report import Part, figures
from benchmarks.sides import SIZE, Side
from benchmarks.stats import Goal, Outcome, pair_ratios
from benchmarks.world import World
from chat_service.domain import frames
from chat_service.domain.log import Log
from chat_service.domain.sending import LANES, Writer
from chat_service.domain.tails import Tail, Tails
from libs import migrations
from libs.clock import Clock
from libs.lanes import Lanes

MISSED = 100
CLIENTS = 500

P11_COLD = Goal("chat P11", f"CPU to hand {MISSED} events from the log to a client, beside a plain read", most=0.5)
P11_SHARED = Goal("chat P11", "the same when others have missed them too", most=0.1)

_PLAIN = """
SELECT m.id, m.conversation_id, m.seq, m.type, m.content, m.client_msg_id, m.created_at, m.sender_id,
       p.username, p.display_name, p.avatar_url
FROM message AS m JOIN profile AS p ON p.user_id = m.sender_id
WHERE m.conversation_id = $1 AND m.seq > $2 ORDER BY m.seq LIMIT 100
"""


class Place:
    """A conversation of a hundred messages."""

    def __init__(self, world: World) -> None:
        self.databases = world.databases
        self.url = world.database("catching")
        migrations.upgrade("chat", self.url)
        self.id = asyncio.run(self._fill())

    async def _fill(self) -> uuid.UUID:
        (place,), people = await furnish(self.url, 1)
        lanes = Lanes("bench", self.url, LANES)
        writer = Writer(lanes, Clock(), lambda _conversation, _stored: None)
        for number in range(MISSED):
            await writer.send(place, people[number % len(people)], content="x" * SIZE)
        await lanes.close()
        connection = await asyncpg.connect(self.url)
        await connection.execute("ANALYZE")
        await connection.close()
        return place

    def measured(self, read: Callable[[Lanes], Awaitable[Callable[[], Awaitable[int]]]]) -> Sample:
        return asyncio.run(self._measured(read))

    async def _measured(self, read: Callable[[Lanes], Awaitable[Callable[[], Awaitable[int]]]]) -> Sample:
        """`read` gives what hands the events to one client, and says how many they were."""
        lanes = Lanes("bench", self.url, 1)
        one = await read(lanes)
        await one()
        began, used, theirs = time.perf_counter(), time.process_time(), cpu.seconds(self.databases)
        for _ in range(CLIENTS):
            if await one() != MISSED:
                raise LoadFailed("not all events were handed on")
        spent = {"service": time.process_time() - used, "databases": cpu.seconds(self.databases) - theirs}
        wall = time.perf_counter() - began
        await lanes.close()
        return Sample(CLIENTS, wall, cpu=spent)

    async def plain(self, lanes: Lanes) -> Callable[[], Awaitable[int]]:
        async def one() -> int:
            rows = await lanes.fetch(_PLAIN, self.id, 0)
            orjson.dumps([dict(row) for row in rows], default=str)
            return len(rows)

        return one

    async def log(self, lanes: Lanes) -> Callable[[], Awaitable[int]]:
        log = Log(lanes)

        async def one() -> int:
            run = await log.read(self.id, 0, MISSED)
            packets = frames.pack(run.lines) if run else []
            return sum(len(frames.lines(packet)) for packet in packets)

        return one

    async def kept(self, lanes: Lanes) -> Callable[[], Awaitable[int]]:
        run = await Log(lanes).read(self.id, 0, MISSED)
        tail = Tail(Tails())
        tail.append(1, run.lines if run else [])

        async def one() -> int:
            return sum(packet.count(b"\n") + 1 for packet in tail.packets(0, MISSED) or [])

        return one


def measure(found: dict[str, Side], options: Options) -> Part:
    print(f"chat: {MISSED} missed events each")
    place = Place(found["ours"].world)
    plain = Subject("read and encoded for each", lambda: place.measured(place.plain))
    log = Subject("ours, from the log", lambda: place.measured(place.log))
    kept = Subject("ours, from memory", lambda: place.measured(place.kept))
    alternate([plain, log, kept], options)

    def micros(subject: Subject) -> list[float]:
        return subject.all(lambda sample: sample.micros())

    return Part(
        outcomes=[
            Outcome(P11_COLD, pair_ratios(micros(log), micros(plain))),
            Outcome(P11_SHARED, pair_ratios(micros(kept), micros(plain))),
        ],
        figures=[
            (f"{MISSED} events to one of {CLIENTS} clients:", figures([plain, log, kept], operation="client")),
        ],
        notes=[
            "From memory no statement is sent: clients of one process that come back within 128 events or 128 KiB of a"
            " conversation find them there, and who comes at the same time waits for the same read."
        ],
    )
