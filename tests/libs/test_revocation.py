"""Ended sessions reach every reader, and survive a Redis that forgets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from libs import revocation
from libs.errors import Unavailable
from libs.revocation import Active, Revocations
from libs.tasks import background
from libs.testing.clock import FakeClock
from libs.tokens import Claims


def claims(*, sid: str | None = None, sub: str | None = None, iat_ms: int = 1_000) -> Claims:
    return Claims(sub or str(uuid4()), sid or str(uuid4()), 0, iat_ms, (), {})


async def nothing() -> Active:
    return Active()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def reader(redis: Redis, pull: Callable[[], Awaitable[Active]] = nothing) -> AsyncIterator[Revocations]:
    revocations = Revocations(redis, FakeClock(), pull)
    async with background(revocations.run()):
        await revocation.heartbeat(redis, str(uuid4()), pull)
        await until(lambda: revocations.fresh)
        yield revocations


async def test_an_ended_session_is_refused_and_others_are_not(redis: Redis) -> None:
    ended, other = claims(), claims()
    async with reader(redis) as revocations:
        assert not revocations.refusal(ended)
        await revocation.publish_session(redis, ended.sid)
        await until(lambda: revocations.refusal(ended))
        assert not revocations.refusal(other)


async def test_a_reader_that_starts_later_knows_what_ended_before(redis: Redis) -> None:
    ended = claims()
    await revocation.publish_session(redis, ended.sid)
    async with reader(redis) as revocations:
        # Others may have said much before: it is read in parts.
        await until(lambda: revocations.refusal(ended))


async def test_a_user_epoch_refuses_what_was_issued_up_to_it(redis: Redis) -> None:
    user = str(uuid4())
    async with reader(redis) as revocations:
        await revocation.publish_user(redis, user, 5_000)
        await until(lambda: revocations.refusal(claims(sub=user, iat_ms=5_000)))
        assert not revocations.refusal(claims(sub=user, iat_ms=5_001))
        assert not revocations.refusal(claims(iat_ms=5_000))


async def test_redis_answers_while_the_stream_is_silent(redis: Redis) -> None:
    user, ended = str(uuid4()), claims()
    silent = Revocations(redis, FakeClock(), nothing)
    await revocation.publish_session(redis, ended.sid)
    await revocation.publish_user(redis, user, 5_000)
    assert not silent.fresh
    assert await silent.ask(ended)
    assert await silent.ask(claims(sub=user, iat_ms=4_000))
    assert not await silent.ask(claims(sub=user, iat_ms=6_000))


async def test_a_flush_forgets_nothing(redis: Redis) -> None:
    ended = claims()
    pulled = asyncio.Event()

    async def active() -> Active:
        pulled.set()
        return Active(sessions={ended.sid: 1}, users={ended.sub: 10_000})

    async with reader(redis, active) as revocations:
        pulled.clear()
        await redis.flushall()
        await revocation.heartbeat(redis, str(uuid4()), active)
        assert await redis.get(revocation.SESSION_KEY + ended.sid) == b"1"
        await asyncio.wait_for(pulled.wait(), 60)
        await until(lambda: revocations.refusal(ended))


async def test_a_set_is_not_trusted_until_auth_has_completed_it(redis: Redis) -> None:
    async def unreachable() -> Active:
        raise Unavailable

    revocations = Revocations(redis, FakeClock(), unreachable)
    async with background(revocations.run()):
        await revocation.heartbeat(redis, str(uuid4()), nothing)
        # What happens from now on is followed all the same.
        ended = claims()
        await revocation.publish_session(redis, ended.sid)
        await until(lambda: revocations.refusal(ended))
        assert not revocations.fresh


async def test_the_marker_is_set_after_the_keys_and_kept(redis: Redis) -> None:
    await redis.delete(revocation.EPOCH_KEY)
    first = await revocation.heartbeat(redis, "one", nothing)
    assert first == "one"
    assert await revocation.heartbeat(redis, "two", nothing) == "one"


@pytest.mark.parametrize("fields", [{"x": "1"}, {}])
async def test_unknown_entries_are_skipped(redis: Redis, fields: dict[str, str]) -> None:
    async with reader(redis) as revocations:
        await redis.xadd(revocation.LOG_KEY, fields or {"": ""})
        ended = claims()
        await revocation.publish_session(redis, ended.sid)
        await until(lambda: revocations.refusal(ended))
