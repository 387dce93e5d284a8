"""Storing messages as the service does: its statement, its writer, its guarantees; only sockets are left out.

Many senders at once, collected into batches. Every twentieth message is sent twice, as after a lost answer. Members,
profiles and conversations are rows, as those of the service.
"""

import asyncio
import hashlib
import itertools
import json
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

import asyncpg
import uvloop

from benchmarks.stats import percentile
from chat_service.domain.drafts import Draft, Stored
from chat_service.domain.sending import LANES, Writer
from libs.clock import Clock
from libs.errors import ServiceError
from libs.lanes import Lanes

MEMBERS = 10
_CONVERSATIONS = """
INSERT INTO conversation (id, type, name, created_by, member_count, created_at, updated_at)
SELECT id, 'group', 'benchmark', $2, $3, now(), now() FROM unnest($1::uuid[]) AS c(id)
"""
_MEMBERS = """
INSERT INTO member (conversation_id, user_id, role, joined_seq, last_read_seq, joined_at)
SELECT c.id, u.id, 'member', 0, 0, now() FROM unnest($1::uuid[]) AS c(id), unnest($2::uuid[]) AS u(id)
"""
_PROFILES = """
INSERT INTO profile (user_id, number, username, display_name, version)
SELECT id, nextval('bench_numbers'), 'user_' || id, 'Somebody', 1 FROM unnest($1::uuid[]) AS u(id)
"""
_COUNTED = """
SELECT (SELECT count(*) FROM message WHERE conversation_id = ANY ($1::uuid[])) AS messages,
       (SELECT sum(message_seq)::bigint FROM conversation WHERE id = ANY ($1::uuid[])) AS numbered
"""
Place = tuple[uuid.UUID, uuid.UUID]


def numbered(kind: str, number: int) -> uuid.UUID:
    """An id that pgbench can make as well: `md5('place 7')::uuid`."""
    return uuid.UUID(hashlib.md5(f"{kind} {number}".encode(), usedforsecurity=False).hexdigest())


def fresh(_kind: str, _number: int) -> uuid.UUID:
    return uuid.uuid4()


async def furnish(
    database: str, conversations: int, members: int = MEMBERS, *, ids: Callable[[str, int], uuid.UUID] = fresh
) -> tuple[list[uuid.UUID], list[uuid.UUID]]:
    """Conversations and people; all are members of all."""
    connection = await asyncpg.connect(database)
    places = [ids("place", number) for number in range(conversations)]
    people = [ids("person", number) for number in range(members)]
    await connection.execute("CREATE SEQUENCE IF NOT EXISTS bench_numbers")
    await connection.execute(_PROFILES, people)
    await connection.execute(_CONVERSATIONS, places, people[0], members)
    await connection.execute(_MEMBERS, places, people)
    await connection.close()
    return places, people


class Count:
    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.errors = 0
        self.sent = 0


async def send_through(writer: Writer, places: list[Place], count: Count, until: float, *, first: int) -> None:
    """One sender: a message after the other; every twentieth is sent again, as after a lost answer."""
    loop = asyncio.get_running_loop()
    for number in itertools.count(first):
        if time.perf_counter() >= until:
            return
        # A prime: neighbours do not follow each other.
        conversation, person = places[number * 7919 % len(places)]
        client_msg_id = uuid.uuid4()
        for _ in range(2 if number % 20 == 0 else 1):
            answer: asyncio.Future[Stored | ServiceError] = loop.create_future()
            began = time.perf_counter()
            writer.submit(Draft(conversation, person, "x" * 120, client_msg_id, None, answer.set_result))
            outcome = await answer
            if isinstance(outcome, ServiceError):
                count.errors += 1
            elif not outcome.dup:
                count.sent += 1
                count.latencies.append((time.perf_counter() - began) * 1000)


async def run(plan: dict[str, Any]) -> None:
    conversations, people = await furnish(plan["database"], plan["conversations"])
    places = [(c, p) for c in conversations for p in people]
    count = Count()
    print(json.dumps({"mark": "begin"}), flush=True)
    began = time.perf_counter()
    until = began + plan["seconds"]
    lanes = Lanes("bench", plan["database"], LANES)
    writer = Writer(lanes, Clock(), lambda _conversation, _stored: None)
    await asyncio.gather(
        *(send_through(writer, places, count, until, first=n * 1_000_003) for n in range(plan["senders"]))
    )
    await lanes.close()
    wall = time.perf_counter() - began
    connection = await asyncpg.connect(plan["database"])
    stored = await connection.fetchrow(_COUNTED, conversations)
    # What is missing, stored twice or numbered with a hole is an error, whatever the answers said.
    wrong = abs(stored["messages"] - count.sent) + abs(stored["numbered"] - count.sent)
    result = {
        "mark": "end",
        "operations": count.sent,
        "errors": count.errors + wrong,
        "wall": wall,
        "p50": percentile(count.latencies, 0.5),
        "p99": percentile(count.latencies, 0.99),
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    uvloop.run(run(json.loads(sys.stdin.read())))
