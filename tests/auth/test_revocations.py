"""Access tokens that are out of date while their sessions go on."""

from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from auth_service.domain import revocations
from tests.auth.api import Account, Api, claims
from tests.auth.conftest import OpenApi


async def outdate(api: Api, made: Account) -> str:
    """Raises the user's epoch as a change of roles does; gives a token that was issued in the same transaction."""
    kit = api.app.state.kit
    now = kit.clock.now()
    async with api.db.transaction() as db:
        await revocations.record_user(db, made.id, now=now)
    fresh: str = (await api.refresh(made.refresh)).json()["access"]
    await revocations.announce_user(kit.redis, made.id, now)
    return fresh


@pytest.mark.promise("A23", "T12")
async def test_an_outdated_token_is_refused_and_a_refreshed_one_is_not(either: Api) -> None:
    made, other = await either.register(), await either.register()
    fresh = await outdate(either, made)
    assert await either.ended(made.access) == "token_stale"
    assert (await either.me(fresh)).status_code == 200
    assert (await either.me(other.access)).status_code == 200


@pytest.mark.promise("A23")
async def test_another_process_refuses_the_outdated_token(api: Api, open_api: OpenApi) -> None:
    made = await api.register()
    async with open_api() as other:
        fresh = await outdate(api, made)
        assert await other.ended(made.access) == "token_stale"
        assert (await other.me(fresh)).status_code == 200


@pytest.mark.promise("A23")
async def test_a_token_of_the_same_millisecond_is_fresh(api: Api) -> None:
    for _ in range(200):
        now = api.clock.now()
        epoch = revocations.epoch(now)
        assert epoch < int(now.timestamp() * 1000) <= api.clock.ms()
        assert epoch >= int(now.timestamp() * 1000) - 1


@pytest.mark.promise("A22", "T12")
async def test_a_global_epoch_outdates_everybody(aging: Api) -> None:
    """Asked of the row alone: announcing it would reach everybody else's tests."""
    made = await aging.register()
    aging.clock.advance(-3600)
    async with aging.db.transaction() as db:
        await revocations.record_everyone(db, now=aging.clock.now())
    found = await revocations.active(aging.db, aging.clock)
    assert 0 < found.everyone < claims(made.access)["iat_ms"]
    await aging.sql("DELETE FROM revocations WHERE kind = 'everyone'")


async def test_a_late_announcement_does_not_lower_an_epoch(api: Api, redis: Redis) -> None:
    user: UUID = uuid4()
    later = api.clock.now()
    await revocations.announce_user(redis, user, later)
    await revocations.announce_user(redis, user, later.replace(year=later.year - 1))
    assert int(await redis.get(f"rv:u:{user}") or 0) == revocations.epoch(later)


async def test_an_epoch_is_recorded_while_redis_is_away(open_api: OpenApi) -> None:
    async with open_api(redis_url="redis://127.0.0.1:1/0") as cut_off:
        made = await cut_off.register()
        assert await outdate(cut_off, made)
        rows = await cut_off.sql("SELECT published_at FROM revocations WHERE subject = :id", id=made.id)
        assert [row.published_at for row in rows] == [None]
