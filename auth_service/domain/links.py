"""Links that were mailed: each is a secret that proves who reads a mailbox, for one purpose, once, and not for long.

A link is followed by posting its token: opening it changes nothing, so that a mail scanner which opens every link uses
none of them up.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.errors import InvalidCode, LinkSpent
from auth_service.models import OneTimeToken, User
from libs.ids import uuid7

_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class Purpose:
    name: str
    lifetime: timedelta


VERIFY_EMAIL = Purpose("verify_email", timedelta(hours=24))
RESET_PASSWORD = Purpose("reset_password", timedelta(minutes=30))
CHANGE_EMAIL = Purpose("change_email", timedelta(hours=24))
UNDO_EMAIL = Purpose("undo_email", timedelta(days=7))
UNDO_PHONE = Purpose("undo_phone", timedelta(days=7))


@dataclass(frozen=True, slots=True)
class Link:
    """`target` is what the link proves, as the address that it went to; `data` is what `issue` was given."""

    user_id: UUID
    target: str
    data: Mapping[str, Any]
    created_at: datetime


async def issue(
    db: AsyncSession,
    purpose: Purpose,
    user_id: UUID,
    *,
    target: str,
    now: datetime,
    data: Mapping[str, Any] | None = None,
) -> str:
    """The token of a new link. Only its SHA-256 is kept, so it is never seen again. Earlier links stay good, for mails
    overtake one another; `kill` ends them where they must not."""
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    row = {
        "id": uuid7(),
        "user_id": user_id,
        "purpose": purpose.name,
        "hash": _digest(token),
        "target": target,
        "data": dict(data) if data is not None else None,
        "created_at": now,
        "expires_at": now + purpose.lifetime,
    }
    await db.execute(insert(OneTimeToken).values(row))
    return token


async def look(db: AsyncSession, purpose: Purpose, token: str, *, now: datetime) -> Link:
    """What a link is for, without using it. Raises InvalidCode or LinkSpent."""
    row = await _row(db, purpose, token)
    if row.used_at is not None or row.expires_at <= now:
        raise LinkSpent
    return _link(row)


async def consume(db: AsyncSession, purpose: Purpose, token: str, *, now: datetime) -> Link:
    """Uses a link. Raises InvalidCode or LinkSpent; of two uses one succeeds.

    The account is locked first, as everything does that changes an account and its links, so none waits for another
    that waits for it.
    """
    user_id = (await _row(db, purpose, token)).user_id
    await db.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
    unused = OneTimeToken.used_at.is_(None), OneTimeToken.expires_at > now
    use = update(OneTimeToken).where(OneTimeToken.hash == _digest(token), *unused).values(used_at=now)
    used = await db.execute(use.returning(*_COLUMNS))
    row = used.one_or_none()
    if row is None:
        raise LinkSpent
    return _link(row)


async def earliest(db: AsyncSession, user_id: UUID, purpose: Purpose, *, since: datetime) -> Link | None:
    """The first link of a user that was issued at `since` or later and was not used."""
    unused = OneTimeToken.user_id == user_id, OneTimeToken.purpose == purpose.name, OneTimeToken.used_at.is_(None)
    query = select(*_COLUMNS).where(*unused, OneTimeToken.created_at >= since)
    row = (await db.execute(query.order_by(OneTimeToken.created_at, OneTimeToken.id).limit(1))).one_or_none()
    return _link(row) if row is not None else None


async def kill(
    db: AsyncSession, user_id: UUID, *purposes: Purpose, now: datetime, since: datetime | None = None
) -> None:
    """Ends the links of a user, or those issued at `since` or later: who follows one is told that it is spent."""
    alive = OneTimeToken.user_id == user_id, OneTimeToken.used_at.is_(None)
    ending = update(OneTimeToken).where(*alive, OneTimeToken.purpose.in_([each.name for each in purposes]))
    if since is not None:
        ending = ending.where(OneTimeToken.created_at >= since)
    await db.execute(ending.values(used_at=now).execution_options(synchronize_session=False))


_COLUMNS = (
    OneTimeToken.user_id,
    OneTimeToken.target,
    OneTimeToken.data,
    OneTimeToken.created_at,
    OneTimeToken.expires_at,
    OneTimeToken.used_at,
)


async def _row(db: AsyncSession, purpose: Purpose, token: str) -> Row[Any]:
    query = select(*_COLUMNS).where(OneTimeToken.hash == _digest(token), OneTimeToken.purpose == purpose.name)
    row = (await db.execute(query)).one_or_none()
    if row is None:
        raise InvalidCode
    return row


def _link(row: Row[Any]) -> Link:
    return Link(row.user_id, row.target, row.data or {}, row.created_at)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
