"""Signing out: the next request at the gateway, and the services behind it."""

import os
import secrets
import uuid
from datetime import UTC, datetime, timedelta

import asyncpg

from benchmarks.harness import Options, run_load
from benchmarks.processes import HOST
from benchmarks.report import Part, spread
from benchmarks.stats import Goal, Outcome
from benchmarks.world import World
from libs.keys import KeyRing
from libs.testing.tokens import access_claims, access_token

SESSIONS = 2000
PEOPLE = 100
CONNECTIONS = 8
PATH = "/api/v1/conversations"
NOWHERE = "/api/v1/conversations/none"

P13_SLIPPED = Goal("auth P13", "requests that the gateway let slip right after a sign-out", most=0.0)
P13_BEHIND = Goal("auth P13", "ms (p99) after a sign-out until a service behind, asked directly, refuses", most=50.0)

_COLUMNS = [
    "id",
    "user_id",
    "family",
    "salt",
    "counter",
    "rotated_at",
    "window_started_at",
    "window_count",
    "amr",
    "aal",
    "authenticated_at",
    "user_agent",
    "created_at",
    "last_seen_at",
    "idle_expires_at",
    "expires_at",
]


class Endings:
    """Sessions are put into the database, for signing in costs a hash each; ending them is what is measured."""

    def __init__(self, world: World, options: Options) -> None:
        self.world = world
        self.count = SESSIONS // 10 if options.quick else SESSIONS
        self.people = [person.id for person in world.register(PEOPLE)]
        self.ring = KeyRing(world.stack.world.key_ring)

    async def sessions(self) -> list[str]:
        now = datetime.now(UTC)
        later = now + timedelta(days=7)
        pairs = [(uuid.uuid4(), self.people[number % PEOPLE]) for number in range(self.count)]
        times = (now, now, later, later)
        rows = [
            (sid, uuid.UUID(user), "canonical", secrets.token_bytes(16), 0, now, now, 0, ["pwd"], 1, now, "", *times)
            for sid, user in pairs
        ]
        connection = await asyncpg.connect(self.world.stack.world.databases["auth"])
        await connection.copy_records_to_table("sessions", records=rows, columns=_COLUMNS)
        await connection.close()
        return [access_token(self.ring, access_claims(user, sid=str(sid))) for sid, user in pairs]

    def __call__(self) -> dict[str, float]:
        plan = {
            "host": HOST,
            "port": self.world.port("gateway"),
            "gateway": self.world.port("gateway"),
            "service": self.world.port("chat"),
            "path": PATH,
            "nowhere": NOWHERE,
            "connections": CONNECTIONS,
            "tokens": self.world.servers.run(self.sessions()),
        }
        return run_load("benchmarks.load.endings", plan, cores=os.sched_getaffinity(0), parts={})[0]


def measure(world: World, options: Options) -> Part:
    print(f"auth: {CONNECTIONS} connections sign out")
    ending = Endings(world, options)
    rounds = [ending() for _ in range(options.rounds)]
    delays = [each["p99"] for each in rounds]
    ended = sum(each["operations"] for each in rounds)
    lost = sum(each["errors"] for each in rounds)
    return Part(
        outcomes=[
            Outcome(P13_SLIPPED, [each["slipped"] for each in rounds]),
            Outcome(P13_BEHIND, delays),
        ],
        notes=[
            f"{ended:.0f} sessions ended by {CONNECTIONS} connections ({lost:.0f} failures);"
            f" half of them were refused behind the gateway from {spread([each['p50'] for each in rounds])} ms on.",
        ],
    )
