"""Devices that an account knows: who signed in on one gets a token for it, and shows it at the next sign-in.

It proves nothing about the person and opens nothing. It says that the owner has been here before, so that strangers who
guess at the password do not slow the owner down, and a sign-in here is no news to them.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import throttles
from auth_service.domain.clients import Client
from libs.ids import uuid7

MOST = 50
_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class Remembered:
    """`token` is new, for the client to keep; None for a device that was known."""

    id: UUID
    token: str | None


# One statement for what every sign-in does: the device is recognised or made, and earlier failures are forgotten.
_REMEMBER = text(
    """
    WITH known AS (
        UPDATE devices SET last_seen_at = :now WHERE user_id = :user AND hash = :given RETURNING id
    ), made AS (
        INSERT INTO devices (id, user_id, hash, created_at, last_seen_at)
        SELECT :id, :user, :fresh, :now, :now WHERE NOT EXISTS (SELECT FROM known) RETURNING id
    ), forgotten AS (
        DELETE FROM throttles WHERE key = ANY(:failures)
    )
    SELECT id, true AS known FROM known UNION ALL SELECT id, false FROM made
    """
)
_DROP = text("DELETE FROM devices WHERE id = :id")
# Programs that keep no token make a device with every sign-in; those that came back are worth more.
_PRUNE = text(
    """
    DELETE FROM devices WHERE id IN (
        SELECT id FROM (
            SELECT id, last_seen_at, row_number() OVER (
                PARTITION BY user_id ORDER BY last_seen_at > created_at DESC, last_seen_at DESC
            ) AS place FROM devices
        ) AS ranked WHERE place > :most OR last_seen_at < :before
    )
    """
)


def digest(token: str | None) -> bytes:
    return hashlib.sha256((token or "").encode()).digest()


async def remember(db: AsyncSession, user_id: UUID, client: Client, *, now: datetime) -> Remembered:
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    who = throttles.subject(user_id)
    values = {
        "user": user_id,
        "given": digest(client.device_token),
        "id": uuid7(),
        "fresh": digest(token),
        "now": now,
        "failures": [throttles.account(who).key, throttles.place(who, client).key],
    }
    row = (await db.execute(_REMEMBER, values)).one()
    return Remembered(row.id, None if row.known else token)


async def drop(db: AsyncSession, device_id: UUID) -> None:
    """From now on it is a stranger's."""
    await db.execute(_DROP, {"id": device_id})


async def prune(db: AsyncSession, *, before: datetime) -> None:
    """Keeps the best fifty of each account, and none that was last seen before."""
    await db.execute(_PRUNE, {"most": MOST, "before": before})
