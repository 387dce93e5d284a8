"""Links that were mailed, by the rules that all purposes share."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from auth_service.domain import links
from auth_service.errors import InvalidCode, LinkSpent
from tests.auth.api import Api

PURPOSES = [links.VERIFY_EMAIL, links.RESET_PASSWORD, links.CHANGE_EMAIL, links.UNDO_EMAIL]


async def issue(api: Api, purpose: Any, user_id: UUID, **data: Any) -> str:
    async with api.db.transaction() as db:
        return await links.issue(db, purpose, user_id, target="ada@example.com", data=data, now=api.clock.now())


async def use(api: Api, purpose: Any, token: str) -> Any:
    async with api.db.transaction() as db:
        return await links.consume(db, purpose, token, now=api.clock.now())


@pytest.mark.promise("A40")
@pytest.mark.parametrize("purpose", PURPOSES, ids=lambda p: p.name)
async def test_of_many_uses_one_succeeds(api: Api, purpose: Any) -> None:
    made = await api.register()
    token = await issue(api, purpose, made.id, word="yes")
    results = await asyncio.gather(*(use(api, purpose, token) for _ in range(10)), return_exceptions=True)
    (link,) = [each for each in results if not isinstance(each, LinkSpent)]
    assert (link.user_id, link.target, link.data) == (made.id, "ada@example.com", {"word": "yes"})


@pytest.mark.promise("A40", "L13")
async def test_a_link_is_good_for_its_own_purpose_only(api: Api) -> None:
    made = await api.register()
    token = await issue(api, links.VERIFY_EMAIL, made.id)
    for purpose in PURPOSES[1:]:
        with pytest.raises(InvalidCode):
            await use(api, purpose, token)
    await use(api, links.VERIFY_EMAIL, token)


@pytest.mark.promise("A40")
@pytest.mark.parametrize("purpose", PURPOSES, ids=lambda p: p.name)
async def test_a_link_ends_with_its_time(still: Api, purpose: Any) -> None:
    made = await still.register()
    punctual, late = await issue(still, purpose, made.id), await issue(still, purpose, made.id)
    still.clock.advance((purpose.lifetime - timedelta(seconds=1)).total_seconds())
    await use(still, purpose, punctual)
    still.clock.advance(1)
    with pytest.raises(LinkSpent):
        await use(still, purpose, late)


async def test_looking_uses_nothing(api: Api) -> None:
    made = await api.register()
    token = await issue(api, links.RESET_PASSWORD, made.id)
    for _ in range(2):
        async with api.db.transaction() as db:
            assert (await links.look(db, links.RESET_PASSWORD, token, now=api.clock.now())).user_id == made.id
    await use(api, links.RESET_PASSWORD, token)
    async with api.db.transaction() as db:
        with pytest.raises(LinkSpent):
            await links.look(db, links.RESET_PASSWORD, token, now=api.clock.now())


async def test_killed_links_are_spent_and_others_are_not(aging: Api) -> None:
    made, other = await aging.register(), await aging.register()
    reset, change = await issue(aging, links.RESET_PASSWORD, made.id), await issue(aging, links.CHANGE_EMAIL, made.id)
    foreign = await issue(aging, links.RESET_PASSWORD, other.id)
    async with aging.db.transaction() as db:
        await links.kill(db, made.id, links.RESET_PASSWORD, now=aging.clock.now())
    with pytest.raises(LinkSpent):
        await use(aging, links.RESET_PASSWORD, reset)
    await use(aging, links.CHANGE_EMAIL, change)
    await use(aging, links.RESET_PASSWORD, foreign)


async def test_links_can_be_killed_from_a_moment_on(aging: Api) -> None:
    made = await aging.register()
    older = await issue(aging, links.UNDO_EMAIL, made.id)
    aging.clock.advance(10)
    moment = aging.clock.now()
    newer = await issue(aging, links.UNDO_EMAIL, made.id)
    async with aging.db.transaction() as db:
        await links.kill(db, made.id, links.UNDO_EMAIL, now=aging.clock.now(), since=moment)
    with pytest.raises(LinkSpent):
        await use(aging, links.UNDO_EMAIL, newer)
    await use(aging, links.UNDO_EMAIL, older)


async def test_a_link_of_nobody_is_no_link(api: Api) -> None:
    with pytest.raises(InvalidCode):
        await use(api, links.RESET_PASSWORD, uuid4().hex)
