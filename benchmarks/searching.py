"""Finding words among 300,000 messages, a third of them Chinese, beside a trigram index on the same rows.

Ours is the statement of the service, for somebody in 100 of 300 conversations, with all it asks about who may see what.
The peer is `ILIKE` with an index of `pg_trgm`, which asks nobody.
"""

import asyncio
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import median

import asyncpg

from benchmarks.harness import Options
from benchmarks.report import Part, Table
from benchmarks.sides import Side
from benchmarks.stats import Goal, Outcome
from benchmarks.world import World
from chat_service.domain import search, tokens
from libs import migrations
from libs.lanes import Lanes

MESSAGES = 300_000
CONVERSATIONS = 300
MINE = 100
TWO = "東京"
QUERIES = (TWO, "京", "会議室", "walrus", "word17 word23")
_START = datetime(2026, 1, 1, tzinfo=UTC)
_AT_ONCE = 20_000

P14 = Goal("chat P14", f"two Chinese characters among {MESSAGES} messages: time beside pg_trgm", most=1 / 100)
C64 = Goal("chat C64", "ms for it", most=10)


def content(number: int) -> str:
    """The same rows every time, and no two alike."""
    mixed = number * 2654435761 % (1 << 32)
    if number % 3 == 0:
        run = "".join(chr(0x4E00 + (mixed * (k + 1) * 40503 >> 7) % 2000) for k in range(30))
        return f"{run}東京会議室" if number % 3000 == 0 else run
    words = [f"word{(mixed * (k + 1) * 48271 >> 5) % 3000}" for k in range(12)]
    return " ".join([*words, "walrus"] if number % 1000 == 1 else words)


async def fill(url: str, me: uuid.UUID, count: int) -> None:
    places = [uuid.uuid4() for _ in range(CONVERSATIONS)]
    connection = await asyncpg.connect(url)
    made = [(c, "group", me, _START, _START) for c in places]
    await connection.copy_records_to_table(
        "conversation", records=made, columns=["id", "type", "created_by", "created_at", "updated_at"]
    )
    members = [(c, me, "member", 0, 0, _START) for c in places[:MINE]]
    await connection.copy_records_to_table(
        "member",
        records=members,
        columns=["conversation_id", "user_id", "role", "joined_seq", "last_read_seq", "joined_at"],
    )
    await connection.execute("CREATE UNLOGGED TABLE found (c uuid, m uuid, seq bigint, at timestamptz, words text)")
    for start in range(0, count, _AT_ONCE):
        await _fill_some(connection, me, places, range(start, min(count, start + _AT_ONCE)))
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


async def _fill_some(connection: asyncpg.Connection, me: uuid.UUID, places: Sequence[uuid.UUID], some: range) -> None:
    rows, found = [], []
    for number in some:
        place, message, said = places[number % len(places)], uuid.uuid4(), content(number)
        seq, at = number // len(places) + 1, _START + timedelta(seconds=number)
        rows.append((place, message, seq, seq, me, message, "text", said, at))
        words = tokens.vector([f"in:{place}", f"from:{me}", *tokens.of_text(said)])
        found.append((place, message, seq, at, words))
    columns = ["conversation_id", "id", "seq", "event_seq", "sender_id", "client_msg_id", "type", "content"]
    await connection.copy_records_to_table("message", records=rows, columns=[*columns, "created_at"])
    await connection.execute("TRUNCATE found")
    await connection.copy_records_to_table("found", records=found)
    await connection.execute("INSERT INTO message_search SELECT c, m, 1, seq, at, words::tsvector FROM found")


async def compare(url: str, options: Options) -> dict[str, tuple[list[float], list[float]]]:
    me = uuid.uuid4()
    await fill(url, me, MESSAGES // 10 if options.quick else MESSAGES)
    connection = await asyncpg.connect(url, server_settings={"jit": "off"})
    await connection.execute("CREATE EXTENSION pg_trgm")
    await connection.execute("CREATE INDEX peer ON message USING gin (content gin_trgm_ops)")
    await connection.execute("VACUUM ANALYZE message")
    lanes = Lanes("bench", url, 1)
    taken: dict[str, tuple[list[float], list[float]]] = {query: ([], []) for query in QUERIES}
    for _ in range(2 + options.rounds):
        for query, (ours, theirs) in taken.items():
            began = time.perf_counter()
            await search.matching(lanes, me, search.Wanted(query), limit=20, edge=None)
            ours.append((time.perf_counter() - began) * 1000)
            where = " AND ".join(f"content ILIKE '%{word}%'" for word in query.split())
            began = time.perf_counter()
            await connection.fetch(f"SELECT id FROM message WHERE {where} ORDER BY created_at DESC LIMIT 20")
            theirs.append((time.perf_counter() - began) * 1000)
    await lanes.close()
    await connection.close()
    # The first looks find nothing in memory.
    return {query: (ours[2:], theirs[2:]) for query, (ours, theirs) in taken.items()}


def prepared(world: World) -> str:
    url = world.database("search")
    migrations.upgrade("chat", url)
    return url


def measure(found: dict[str, Side], options: Options) -> Part:
    print(f"chat: finding words among {MESSAGES} messages")
    taken = asyncio.run(compare(prepared(found["ours"].world), options))
    table = Table(["looked for", "ours ms", "pg_trgm ms"])
    for query, (ours, theirs) in taken.items():
        table.rows.append([query, f"{median(ours):.2f}", f"{median(theirs):.2f}"])
    ours, theirs = taken[TWO]
    return Part(
        outcomes=[
            Outcome(P14, [mine / other for mine, other in zip(ours, theirs, strict=True)]),
            Outcome(C64, ours),
        ],
        figures=[(f"{MESSAGES} messages, medians:", table)],
    )
