"""Tokens for programs: made by a person who has just proved who they are, shown once, kept as a hash."""

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import audit, messages, revocations, roles, users
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.kit import Kit
from auth_service.errors import TooManyApiTokens
from auth_service.models import ApiToken, User
from libs.api_tokens import INTROSPECT, PREFIX
from libs.clock import Clock
from libs.contracts.accounts import ApiTokenFacts
from libs.db import Database
from libs.errors import Forbidden, NotFound
from libs.ids import uuid7

MOST = 50
_SECRET_BYTES = 32
_ENDING_CHARS = 4
_USE_NOTED_EVERY = timedelta(minutes=1)
_INACTIVE = ApiTokenFacts(active=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    name: str
    scopes: Sequence[str]
    lifetime: timedelta | None


async def create(db: AsyncSession, kit: Kit, user_id: UUID, wanted: Wanted, *, client: Client) -> tuple[ApiToken, str]:
    """The row, and the token that nobody will see again. Raises TooManyApiTokens, and Forbidden for a scope that the
    owner's roles do not allow."""
    now = kit.clock.now()
    owner = await users.myself(db, user_id)
    if set(wanted.scopes) != set(_allowed(wanted.scopes, users.held_roles(owner))):
        raise Forbidden
    await _require_room(db, user_id, now=now)
    token = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    row = ApiToken(
        id=uuid7(),
        user_id=user_id,
        name=wanted.name,
        hash=_hash(token),
        ending=token[-_ENDING_CHARS:],
        scopes=sorted(set(wanted.scopes)),
        created_at=now,
        expires_at=now + wanted.lifetime if wanted.lifetime else None,
    )
    db.add(row)
    await db.flush()
    data = {"token_id": str(row.id), "name": row.name, "scopes": row.scopes}
    entry = Entry(action="api_token.created", actor_id=user_id, subject_id=user_id, data=data)
    await audit.record(db, entry, client, now=now)
    await messages.mail(db, kit, owner, "api_token_created", variables={"label": row.name})
    return row, token


async def _require_room(db: AsyncSession, user_id: UUID, *, now: datetime) -> None:
    # Those of one user take turns, so that the count holds.
    await db.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
    if await count(db, user_id, now=now) >= MOST:
        raise TooManyApiTokens


async def count(db: AsyncSession, user_id: UUID, *, now: datetime) -> int:
    """How many work."""
    usable = select(func.count()).select_from(ApiToken).where(*_usable(now), ApiToken.user_id == user_id)
    return await db.scalar(usable) or 0


async def held(db: AsyncSession, user_id: UUID, *, now: datetime) -> list[ApiToken]:
    """The newest first; there are at most MOST."""
    query = select(ApiToken).where(*_usable(now), ApiToken.user_id == user_id)
    return list((await db.scalars(query.order_by(ApiToken.id.desc()))).all())


async def revoke(kit: Kit, token_id: UUID, user_id: UUID, client: Client) -> None:
    """Raises NotFound. Every service refuses it at once, as it does an ended session."""
    now = kit.clock.now()
    async with kit.database.transaction() as db:
        ending = update(ApiToken).where(*_usable(now), ApiToken.id == token_id, ApiToken.user_id == user_id)
        if await db.scalar(ending.values(revoked_at=now).returning(ApiToken.id)) is None:
            raise NotFound
        await revocations.record_session(db, token_id, now=now)
        data = {"token_id": str(token_id)}
        entry = Entry(action="api_token.revoked", actor_id=user_id, subject_id=user_id, data=data)
        await audit.record(db, entry, client, now=now)
    await revocations.announce_session(kit.redis, token_id)


async def end(kit: Kit, token: str, client: Client) -> None:
    """The same by showing it. One that does not work ends nothing."""
    now = kit.clock.now()
    async with kit.database.transaction() as db:
        found = await find(db, token, now=now)
    if found is not None:
        with suppress(NotFound):
            await revoke(kit, found[0].id, found[0].user_id, client)


async def find(db: AsyncSession, token: str, *, now: datetime) -> tuple[ApiToken, list[str]] | None:
    """The token, if it works and its owner may sign in, with the owner's roles."""
    query = select(ApiToken, User).join(User, User.id == ApiToken.user_id)
    query = query.where(ApiToken.hash == _hash(token), *_usable(now))
    found = (await db.execute(query.where(User.status == "active", User.deletion_at.is_(None)))).one_or_none()
    return (found[0], users.held_roles(found[1])) if found else None


async def facts(database: Database, token: str, *, now: datetime) -> ApiTokenFacts:
    """What holds for a token right now. Notes that it is used, once a minute."""
    async with database.transaction() as db:
        found = await find(db, token, now=now)
        if found is None:
            return _INACTIVE
        row, held = found
        if row.last_used_at is None or row.last_used_at <= now - _USE_NOTED_EVERY:
            await db.execute(update(ApiToken).where(ApiToken.id == row.id).values(last_used_at=now))
    return ApiTokenFacts(
        active=True,
        token_id=row.id,
        user_id=row.user_id,
        roles=held,
        scopes=_allowed(row.scopes, held),
        exp=int(row.expires_at.timestamp()) if row.expires_at else None,
    )


def facts_at(clock: Clock) -> Callable[[Database, str], Awaitable[ApiTokenFacts]]:
    """For auth's own processes, which ask their database where other services ask auth."""

    async def resolve(database: Database, token: str) -> ApiTokenFacts:
        return await facts(database, token, now=clock.now())

    return resolve


def _allowed(scopes: Sequence[str], owners: Sequence[str]) -> list[str]:
    # Whoever may ask about everybody's tokens is an administrator, and one no longer may once they are none.
    asking = roles.allows(owners, "tokens.introspect")
    return [scope for scope in scopes if asking or scope != INTROSPECT]


def _usable(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return ApiToken.revoked_at.is_(None), or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > now)


def _hash(token: str) -> bytes:
    # 256 bits of chance: nothing to guess, so nothing to slow down.
    return hashlib.sha256(token.encode()).digest()
