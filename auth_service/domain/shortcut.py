"""The sign-in that most sign-ins are: with a password alone, on a device that the account knows.

One transaction of two statements, in which nobody waits for anybody. Whatever is out of the ordinary (a second factor,
a session too many, an account that leaves or that somebody is changing) gets nothing here and goes the long way
(`domain.admission`), which knows how to refuse and whom to tell. Both make the same session and the same entry in the
audit log.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import structlog
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.elements import KeyedColumnElement

from auth_service.domain import audit, holders, sessions, throttles
from auth_service.domain.clients import Client
from auth_service.domain.kit import Kit
from auth_service.domain.sessions import Opening
from auth_service.domain.tokens import Pair
from auth_service.models import AuditEvent, Session

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
_SESSION = [column for column in Session.__table__.columns if not column.name.startswith("revoked_")]
# The others are given by the table, and when the row is sealed.
_ENTRY = [
    column for column in AuditEvent.__table__.columns if column.name not in ("id", "position", "prev_hash", "hash")
]


def _insert(table: str, columns: Sequence[KeyedColumnElement[Any]], first: int) -> str:
    names = ", ".join(column.name for column in columns)
    given = (f"${n}::{column.type.compile(_DIALECT)}" for n, column in enumerate(columns, first))
    return f"INSERT INTO {table} ({names}) SELECT {', '.join(given)} FROM u"  # noqa: S608


# Alone and first: the next statement sees what everybody has changed who held the account before.
_LOCK = "SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED"
_OWN = 8
_BEGIN = f"""
    WITH u AS (
        SELECT users.*, d.id AS device_id FROM users
        JOIN passwords AS p ON p.user_id = users.id AND p.hash = $2
        JOIN devices AS d ON d.user_id = users.id AND d.id = $3
        WHERE users.id = $1 AND users.status = 'active' AND users.deletion_at IS NULL
            AND (users.allowed_countries IS NULL OR coalesce($4 = ANY (users.allowed_countries), true))
            AND NOT EXISTS (SELECT FROM totp WHERE user_id = $1 AND confirmed_at IS NOT NULL)
            AND NOT EXISTS (SELECT FROM passkeys WHERE user_id = $1)
            AND $5 > (
                SELECT count(*) FROM sessions WHERE user_id = $1 AND revoked_at IS NULL
                    AND idle_expires_at > $6 AND expires_at > $6 AND actor_id IS NULL
            )
    ), seen AS (
        UPDATE devices SET last_seen_at = $6 FROM u WHERE devices.id = u.device_id
    ), forgotten AS (
        DELETE FROM throttles WHERE key = ANY ($7::text[]) AND EXISTS (SELECT FROM u)
    ), session AS (
        {_insert("sessions", _SESSION, _OWN)}
    ), told AS (
        {_insert("audit", _ENTRY, _OWN + len(_SESSION))}
    )
    SELECT {holders.COLUMNS} FROM u
"""  # noqa: S608

log = structlog.get_logger()


async def begin(kit: Kit, user_id: UUID, password_hash: str, opening: Opening, *, client: Client) -> Pair | None:
    """A session on `opening.device_id` for the user whose password still is the one that was checked; None for whatever
    needs a closer look."""
    travels = kit.adaptive != "off" and client.country is not None
    if opening.device_id is None or travels:
        return None
    async with kit.lanes.transaction() as fetch:
        if not await fetch(_LOCK, user_id):
            return None
        # Of a moment at which the account was ours: a change of roles that comes later outdates the token.
        now = kit.clock.now()
        session = sessions.opened(user_id, opening, client=client, now=now)
        entry = sessions.started(session)
        own = (password_hash, opening.device_id, client.country, kit.sessions_per_user, now, _failures(user_id, client))
        rows = await fetch(_BEGIN, user_id, *own, *_session(session), *_entry(entry, client, now))
    if not rows:
        return None
    audit.count(entry)
    log.info("session_started", user_id=str(user_id), session_id=str(session.id))
    return kit.mint.pair(holders.read(rows[0]), session, counter=0, issued=now)


def _failures(user_id: UUID, client: Client) -> list[str]:
    who = throttles.subject(user_id)
    return [throttles.account(who).key, throttles.place(who, client).key]


def _session(session: Session) -> list[object]:
    return [getattr(session, column.name) for column in _SESSION]


def _entry(entry: audit.Entry, client: Client, now: datetime) -> list[object]:
    row = audit.row(entry, client, now=now)
    return [orjson.dumps(row[column.name]).decode() if column.name == "data" else row[column.name] for column in _ENTRY]
