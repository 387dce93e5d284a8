"""The background of auth: revocations that Redis missed or forgot, events on their way, and tidying up."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis
from sqlalchemy import text

from auth_service import worker
from auth_service.domain import housekeeping
from libs import outbox
from libs.redis import read_stream
from libs.revocation import EPOCH_KEY, SESSION_KEY, USER_KEY
from libs.tasks import stop
from tests.auth.api import Api, session_of, unique
from tests.auth.conftest import OpenApi, SettingsFor


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def working(settings_for: SettingsFor) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.main(await settings_for()))
    try:
        yield
    finally:
        await stop([task], patience=10)


async def test_what_redis_missed_is_published_later(
    api: Api, open_api: OpenApi, settings_for: SettingsFor, redis: Redis
) -> None:
    made = await api.register()
    async with open_api(redis_url="redis://127.0.0.1:1/0") as cut_off:
        await cut_off.post("/api/v1/auth/logout", {}, made.access)
    key = SESSION_KEY + session_of(made.access)
    assert await redis.get(key) is None
    async with working(settings_for):
        await until(lambda: redis.get(key))
    assert await api.ended(made.access) == "token_revoked"


async def test_epochs_are_published(api: Api, settings_for: SettingsFor, redis: Redis) -> None:
    user = uuid4()
    await api.sql(
        "INSERT INTO revocations (kind, subject, epoch_ms, created_at) VALUES ('user', :user, 5, now())", user=user
    )
    async with working(settings_for):
        await until(lambda: redis.get(USER_KEY + str(user)))


async def test_what_redis_forgot_is_written_again(api: Api, settings_for: SettingsFor, redis: Redis) -> None:
    made = await api.register()
    await api.post("/api/v1/auth/logout", {}, made.access)
    async with working(settings_for):
        await until(lambda: redis.get(EPOCH_KEY))
        # In one step: the worker may write it again at once.
        async with redis.pipeline(transaction=True) as pipe:
            pipe.flushall().get(SESSION_KEY + session_of(made.access))
            assert (await pipe.execute())[-1] is None
        await until(lambda: redis.get(SESSION_KEY + session_of(made.access)))
        await until(lambda: redis.get(EPOCH_KEY))
    assert await api.ended(made.access) == "token_revoked"


async def test_a_session_outlives_a_flush(api: Api, redis: Redis) -> None:
    made = await api.register()
    await redis.flushall()
    assert (await api.me(made.access)).status_code == 200
    assert (await api.refresh(made.refresh)).status_code == 200


async def test_every_process_refuses_within_a_moment_once_the_worker_runs(
    api: Api, open_api: OpenApi, settings_for: SettingsFor
) -> None:
    """With the heartbeat, processes answer from memory; what ended reaches that memory by the stream."""
    made = await api.register()
    async with working(settings_for), open_api() as other:
        await until(lambda: fresh(other))
        assert (await other.me(made.access)).status_code == 200
        await api.post("/api/v1/auth/logout", {}, made.access)

        async def heard() -> bool:
            return bool(other.app.state.revocations.ended(session_of(made.access)))

        await until(heard)
        assert (await other.me(made.access)).status_code == 401


async def fresh(api: Api) -> bool:
    return bool(api.app.state.revocations.fresh)


async def test_events_reach_the_stream_in_order(api: Api, settings_for: SettingsFor, redis: Redis) -> None:
    last: Any = await redis.xrevrange(outbox.stream_of("auth"), count=1)
    after = last[0][0].decode() if last else "0-0"
    made = await api.register()
    await api.call("PATCH", "/api/v1/users/me", made.access, json={"bio": "here"})

    async def mine() -> list[str]:
        entries = await read_stream(redis, outbox.stream_of("auth"), after, count=100_000, block_ms=10)
        events = [outbox.parse(fields) for _, fields in entries]
        return [e.type for e in events if str(made.id) in str(e.data)]

    async def complete() -> bool:
        return len(await mine()) == 3

    async with working(settings_for):
        await until(complete)
    assert await mine() == ["UserRegistered", "MessageRequested", "UserUpdated"]


async def test_the_worker_lives_through_an_absent_redis(settings_for: SettingsFor) -> None:
    working_without = asyncio.create_task(worker.main(await settings_for(redis_url="redis://127.0.0.1:1/0")))
    await asyncio.sleep(0.5)
    assert not working_without.done()
    await stop([working_without], patience=10)


async def test_what_is_over_is_forgotten_and_nothing_else(strict: Api) -> None:
    """The clock of the rows is turned back rather than ours forward: this database is everybody's."""
    email, fresh_email = f"{unique()}@example.com", f"{unique()}@example.com"
    for each in (email, fresh_email):
        await strict.post("/api/v1/auth/register", {"email": each, "password": "correct horse battery"})
    old, young = [(await strict.mails(each))[0].user_id for each in (email, fresh_email)]
    await strict.sql("UPDATE users SET created_at = now() - interval '8 days' WHERE id = :id", id=old)
    gone, kept = uuid4(), uuid4()
    for subject, age in ((gone, "13 hours"), (kept, "11 hours")):
        await strict.sql(
            "INSERT INTO revocations (kind, subject, epoch_ms, created_at, published_at)"
            " VALUES ('session', :subject, 1, now() - CAST(:age AS text)::interval, now())",
            subject=subject,
            age=age,
        )
    await housekeeping.forget(strict.db, strict.clock)
    async with strict.db.transaction() as db:
        users = await db.scalars(text("SELECT id FROM users WHERE id IN (:a, :b)"), {"a": old, "b": young})
        assert users.all() == [young]
        subjects = await db.scalars(
            text("SELECT subject FROM revocations WHERE subject IN (:a, :b)"), {"a": gone, "b": kept}
        )
        assert subjects.all() == [kept]


async def test_sessions_and_links_are_forgotten_a_week_after_their_end(api: Api) -> None:
    made, other = await api.register(), await api.register()
    for table in ("sessions", "one_time_tokens"):
        await api.sql(
            f"UPDATE {table} SET expires_at = now() - interval '8 days' WHERE user_id = :id",
            id=made.id,
        )
    await housekeeping.forget(api.db, api.clock)
    for table in ("sessions", "one_time_tokens"):
        rows = await api.sql(f"SELECT user_id FROM {table} WHERE user_id IN (:a, :b)", a=made.id, b=other.id)
        assert [row.user_id for row in rows] == [other.id]


async def test_what_was_begun_and_can_be_ended_no_more_is_forgotten(api: Api) -> None:
    late, waiting = [(await api.post("/api/v1/auth/passkeys/login/options")).json()["ceremony_id"] for _ in range(2)]
    await api.sql("UPDATE ceremonies SET expires_at = now() - interval '1 minute' WHERE id = :id", id=late)
    await housekeeping.forget(api.db, api.clock)
    rows = await api.sql("SELECT id FROM ceremonies WHERE id IN (:a, :b)", a=late, b=waiting)
    assert [str(row.id) for row in rows] == [waiting]
