"""What chat tells auth of people."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from auth_service.domain import presence
from libs.contracts.events import Event, EventData
from libs.contracts.people import BlockChanged, InterestChanged, PresenceChanged
from libs.ids import uuid7
from tests.auth.api import Account, Api
from tests.auth.people import choose, seen_by

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


async def hear(api: Api, data: EventData) -> None:
    """As the consumer hands it on: through JSON."""
    event = Event(
        id=uuid7(), type=data.type, producer="chat", position=1, occurred_at=NOON, data=data.model_dump(mode="json")
    )
    async with api.db.transaction() as db:
        await presence.handlers()[data.type](db, event)


def came(user: Any, *, online: bool = True) -> PresenceChanged:
    return PresenceChanged(user_id=user, online=online, last_seen_at=NOON)


def interest(one: Account, two: Account, status: Any) -> InterestChanged:
    return InterestChanged(interest_id=uuid4(), from_user_id=one.id, to_user_id=two.id, status=status)


@pytest.mark.promise("A52")
async def test_people_come_and_go(api: Api) -> None:
    made, other = await api.register(), await api.register()
    await hear(api, came(made.id))
    shown = await seen_by(api, other, made.id)
    assert (shown["is_online"], shown["last_seen_at"]) == (True, "2026-11-21T12:00:00Z")
    await hear(api, came(made.id, online=False))
    assert (await seen_by(api, other, made.id))["is_online"] is False
    assert (await api.me(made.access)).json()["last_seen_at"] == "2026-11-21T12:00:00Z"


async def test_accepted_requests_make_contacts_of_both(api: Api) -> None:
    one, two = await api.register(), await api.register()
    for owner in (one, two):
        await choose(api, owner, online="contacts")
    for status, sees in (("pending", None), ("accepted", False), ("accepted", False), ("withdrawn", None)):
        await hear(api, interest(one, two, status))
        assert (await seen_by(api, two, one.id))["is_online"] is sees
        assert (await seen_by(api, one, two.id))["is_online"] is sees


async def test_blocks_come_and_go(api: Api) -> None:
    one, two = await api.register(), await api.register()
    for blocked, sees in ((True, None), (True, None), (False, False)):
        await hear(api, BlockChanged(user_id=one.id, blocked_id=two.id, blocked=blocked))
        assert (await seen_by(api, two, one.id))["is_online"] is sees


async def test_news_of_somebody_unknown_are_no_failure(api: Api) -> None:
    made = await api.register()
    await hear(api, came(uuid4()))
    await hear(api, BlockChanged(user_id=made.id, blocked_id=uuid4(), blocked=True))
    await hear(api, InterestChanged(interest_id=uuid4(), from_user_id=uuid4(), to_user_id=made.id, status="accepted"))
