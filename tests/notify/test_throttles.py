"""How many messages of a category one address gets."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.testing.clients import client
from libs.testing.clock import FakeClock
from notify_service.app import create_app
from notify_service.domain.categories import Throttle
from notify_service.domain.throttles import Use
from tests.notify.asking import Decide, Person, ended, send
from tests.notify.chats import Outside
from tests.notify.world import World

TWO_AN_HOUR = {"most": 2, "seconds": 3600}


async def states(person: Person, account: str, *to: str, **body: Any) -> list[str]:
    return [each["state"] for each in (await send(person, account, *to, **body))["deliveries"]]


@pytest.fixture
async def later(world: World, clock: FakeClock, issue_token: Any) -> AsyncIterator[Person]:
    """An administrator whose calls go to an app with a clock to set."""
    async with client(create_app(world.settings(), clock)) as http:
        yield Person(http, issue_token(roles=["admin"], exp=int(clock.seconds()) + 7 * 86_400))


@pytest.mark.promise("N58")
async def test_what_is_too_much_is_recorded_and_counted(
    later: Person, bot: str, chat: str, telegram: Outside, decide: Decide, clock: FakeClock
) -> None:
    category = await decide(throttle=TWO_AN_HOUR)
    content = {"text": "{{name}}, {{throttled_count}} left out"}
    body = {"category": category, "content": content}
    to = {"address": chat, "variables": {"name": "Ada"}}
    made = [(await send(later, bot, to, **body))["deliveries"][0] for _ in range(5)]
    assert [each["state"] for each in made] == ["queued"] * 2 + ["suppressed"] * 3
    over = await later.get(f"/deliveries/{made[2]['id']}")
    assert (over["reason"], over["attempts"], over["log"]) == ("throttled", 0, [])
    clock.advance(3700)
    [again] = (await send(later, bot, to, **body))["deliveries"]
    [last] = (await send(later, bot, to, **body))["deliveries"]
    assert [each["state"] for each in (again, last)] == ["queued"] * 2


@pytest.mark.promise("N58")
async def test_next_message_says_how_many_were_left_out(
    later: Person, bot: str, chat: str, telegram: Outside, decide: Decide, *, clock: FakeClock, world: World
) -> None:
    category = await decide(throttle={"most": 1, "seconds": 3600})
    body = {"category": category, "content": {"text": "{{throttled_count}} left out"}}
    made = [(await send(later, bot, chat, **body))["deliveries"][0] for _ in range(4)]
    assert [each["state"] for each in made] == ["queued", "suppressed", "suppressed", "suppressed"]
    await ended(later, made[0])
    clock.advance(3700)
    [after] = (await send(later, bot, chat, **body))["deliveries"]
    # For the worker too the hour is over.
    await world.sql("UPDATE delivery SET next_at = now() WHERE id = $1::text::uuid", after["id"])
    assert (await ended(later, after))["state"] == "sent"
    assert [each["text"] for each in await telegram.effects(chat)] == ["0 left out", "3 left out"]


@pytest.mark.promise("N58")
async def test_others_and_what_is_urgent_are_not_throttled(admin: Person, bot: str, chat: str, decide: Decide) -> None:
    category = await decide(throttle=TWO_AN_HOUR)
    later = (datetime.now(UTC) + timedelta(minutes=50)).isoformat()
    same = {"category": category, "send_at": later}
    # In one request as in many; what is planned counts at its time.
    assert await states(admin, bot, chat, "1", chat, chat, "1", **same) == [
        "queued",
        "queued",
        "queued",
        "suppressed",
        "queued",
    ]
    assert await states(admin, bot, chat, category=category) == ["suppressed"]
    much_later = (datetime.now(UTC) + timedelta(hours=3)).isoformat()
    assert await states(admin, bot, chat, category=category, send_at=much_later) == ["queued"]
    assert await states(admin, bot, chat, category=category, priority="high", send_at=later) == ["queued"]
    assert await states(admin, bot, chat, category="other", send_at=later) == ["queued"]
    fallback = {"fallback": [{"channel": "telegram", "after_seconds": 1}]}
    assert await states(admin, bot, chat, category=category, **fallback) == ["suppressed"]


@pytest.mark.promise("N58")
async def test_requests_at_the_same_time_count_each_other(admin: Person, bot: str, chat: str, decide: Decide) -> None:
    category = await decide(throttle=TWO_AN_HOUR)
    later = (datetime.now(UTC) + timedelta(minutes=50)).isoformat()
    asked = (states(admin, bot, chat, "2", category=category, send_at=later) for _ in range(8))
    made = await asyncio.gather(*asked)
    for place in (0, 1):
        assert sorted(each[place] for each in made) == ["queued"] * 2 + ["suppressed"] * 6


@pytest.mark.promise("N58")
async def test_mails_about_messages_of_chat_are_throttled(world: World, decide: Decide) -> None:
    await decide("message", throttle=TWO_AN_HOUR)
    ada = await world.register()
    for _ in range(3):
        await world.say(ada)
    await world.heard()
    rows = await world.ended(ada, 3)
    assert [(row["state"], row["reason"]) for row in rows] == [
        ("sent", None),
        ("sent", None),
        ("suppressed", "throttled"),
    ]


START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.promise("N58")
@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 4), st.integers(1, 10))
def test_no_window_has_more_than_the_rule_says(asked: list[int], most: int, seconds: int) -> None:
    rule, use = Throttle(most=most, seconds=seconds), Use([])
    taken: list[int] = []

    def full(start: int) -> bool:
        return sum(start <= each < start + seconds for each in taken) >= most

    for second in asked:
        has_room = not any(map(full, range(second - seconds + 1, second + 1)))
        assert use.take(START + timedelta(seconds=second), rule) == has_room
        taken += [second] * has_room
