"""Ended sessions and outdated tokens, told to everybody.

The row is written in the transaction that ends the session. The request that ended it tells Redis right after the
commit, before it answers, so that the gateway refuses the next request. Should Redis be away or the process die between
the two, the answer stands all the same: the worker publishes every row that it has not published itself, once a second.
Publishing twice changes nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.models import Revocation
from libs import revocation
from libs.clock import Clock
from libs.db import Database
from libs.revocation import KEEP_SECONDS, Active

_PUBLISH_SECONDS = 1.0
_BATCH = 1000

log = structlog.get_logger()


async def record_session(db: AsyncSession, session_id: UUID, *, now: datetime) -> None:
    row = {"kind": "session", "subject": session_id, "epoch_ms": ms(now), "created_at": now}
    await db.execute(insert(Revocation).values(row))


async def record_user(db: AsyncSession, user_id: UUID, *, now: datetime) -> None:
    """From now on the user's older access tokens are out of date: 401 `token_stale`. Sessions go on; their next refresh
    says what holds now. `now` is read after what changes was locked."""
    row = {"kind": "user", "subject": user_id, "epoch_ms": epoch(now), "created_at": now}
    await db.execute(insert(Revocation).values(row))


async def record_everyone(db: AsyncSession, *, now: datetime) -> None:
    """The same for all users."""
    row = {"kind": "everyone", "subject": None, "epoch_ms": epoch(now), "created_at": now}
    await db.execute(insert(Revocation).values(row))


def epoch(now: datetime) -> int:
    """Tokens issued up to it are refused. A millisecond earlier, for the same transaction may issue a fresh token."""
    return ms(now) - 1


async def announce_session(redis: Redis, session_id: UUID) -> None:
    """To be called after the commit. Never fails; without Redis the worker does it later."""
    await _announce(revocation.publish_session(redis, str(session_id)))


async def announce_user(redis: Redis, user_id: UUID, now: datetime) -> None:
    """After the commit, with the `now` that was recorded."""
    await _announce(revocation.publish_user(redis, str(user_id), epoch(now)))


async def announce_everyone(redis: Redis, now: datetime) -> None:
    await _announce(revocation.publish_everyone(redis, epoch(now)))


async def publish_waiting(database: Database, redis: Redis, clock: Clock) -> None:
    """One turn of the worker."""
    async with database.transaction() as db:
        waiting = select(Revocation).where(Revocation.published_at.is_(None)).order_by(Revocation.id).limit(_BATCH)
        rows = (await db.scalars(waiting.with_for_update(skip_locked=True))).all()
        for row in rows:
            await _publish(redis, row)
        if rows:
            published = update(Revocation).where(Revocation.id.in_([row.id for row in rows]))
            await db.execute(published.values(published_at=clock.now()))


async def active(database: Database, clock: Clock) -> Active:
    """All that may still concern an access token that has not expired."""
    since = clock.now() - timedelta(seconds=KEEP_SECONDS)
    columns = select(Revocation.kind, Revocation.subject, Revocation.epoch_ms)
    async with database.transaction() as db:
        rows = (await db.execute(columns.where(Revocation.created_at > since).order_by(Revocation.epoch_ms))).all()
    found = Active(everyone=max((row.epoch_ms for row in rows if row.kind == "everyone"), default=0))
    for row in rows:
        if row.kind == "session":
            found.sessions[str(row.subject)] = row.epoch_ms
        elif row.kind == "user":
            found.users[str(row.subject)] = row.epoch_ms
    return found


def active_at(clock: Clock) -> Callable[[Database], Awaitable[Active]]:
    """For auth's own processes, which ask their database where other services ask auth."""

    async def pull(database: Database) -> Active:
        return await active(database, clock)

    return pull


async def _announce(publishing: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(_PUBLISH_SECONDS):
            await publishing
    except (RedisError, OSError, TimeoutError) as error:
        log.warning("revocation_waits_for_redis", reason=type(error).__name__)


async def _publish(redis: Redis, row: Revocation) -> None:
    if row.kind == "session":
        await revocation.publish_session(redis, str(row.subject))
    elif row.kind == "user":
        await revocation.publish_user(redis, str(row.subject), row.epoch_ms)
    else:
        await revocation.publish_everyone(redis, row.epoch_ms)


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
