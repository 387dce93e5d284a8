"""The audit log: who did what to whom, from where, and how it ended.

Rows are inserted unchained, in the transaction of what they tell; one worker seals them into a chain of hashes.
"""

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal, cast
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy import Table
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain.clients import Client
from auth_service.models import AuditEvent
from libs.contracts.audit import Audited
from libs.contracts.events import Event
from libs.db import Database
from libs.ids import uuid7

Result = Literal["ok", "refused"]
# Of the table, made once: what an object costs more, every sign-in would pay.
_INSERT = insert(cast(Table, AuditEvent.__table__)).inline()
# Why something was refused is one of our codes; why staff did something is a text of theirs, and no label.
EVENTS = Counter(
    "parley_auth_events_total",
    "What the audit log was told: sign-ins are `session.started` and `sign_in.refused`.",
    ["action", "result", "reason"],
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """`action` is `noun.verb`, as `session.started`. `actor_id` acted, `subject_id` is whom it concerns."""

    action: str
    result: Result = "ok"
    reason: str | None = None
    actor_id: UUID | None = None
    subject_id: UUID | None = None
    session_id: UUID | None = None
    data: dict[str, Any] = field(default_factory=dict)


def row(entry: Entry, client: Client, *, now: datetime) -> dict[str, Any]:
    context = structlog.contextvars.get_contextvars()
    # What staff does in a user's place, staff has done.
    acting: str | None = context.get("acting_id")
    return {
        **asdict(entry),
        "actor_id": UUID(acting) if acting else entry.actor_id,
        "at": now,
        "event_id": uuid7(),
        "service": "auth",
        "ip": client.ip,
        "country": client.country,
        "user_agent": client.user_agent or None,
        "request_id": context.get("request_id"),
    }


async def record(db: AsyncSession, entry: Entry, client: Client, *, now: datetime) -> None:
    """Never a secret, nor an address that somebody merely tried: a failed sign-in names only accounts that exist."""
    await db.execute(_INSERT, row(entry, client, now=now))
    count(entry)


def count(entry: Entry) -> None:
    """For the metrics alone."""
    EVENTS.labels(entry.action, entry.result, entry.reason or "" if entry.result == "refused" else "").inc()


async def record_alone(database: Database, entry: Entry, client: Client, *, now: datetime) -> None:
    """In a transaction of its own, for what is refused: the error that follows undoes the request's."""
    async with database.transaction() as db:
        await record(db, entry, client, now=now)


async def on_audited(db: AsyncSession, data: Audited, event: Event) -> None:
    """An entry of another service, once, however often it is told."""
    row = {
        **{name: _plain(value) for name, value in data.model_dump(exclude={"data"}).items()},
        "data": dict(data.data),
        "at": event.occurred_at,
        "event_id": event.id,
        "service": event.producer,
    }
    await db.execute(insert(AuditEvent).values(row).on_conflict_do_nothing())


def _plain(value: object) -> object:
    """Texts come from outside: a line break or an escape sequence must not look like something else in a terminal."""
    if isinstance(value, str) and not value.isprintable():
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)
    return value
