"""What an inbox shows later, and what has been seen in it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.notify.asking import Person
from tests.notify.world import World, eventually


async def shown(me: Person, **query: Any) -> list[str]:
    return [each["id"] for each in (await me.get("/notifications", **query))["results"]]


async def change(me: Person, made: Any, **body: Any) -> Any:
    answer = await me.call("PATCH", f"/notifications/{made['id']}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def later(**time: float) -> str:
    return (datetime.now(UTC) + timedelta(**time)).isoformat()


@pytest.mark.promise("N26")
async def test_snoozed_is_in_no_list_and_no_count_until_it_comes_back_as_new(as_user: Any, world: World) -> None:
    user = uuid4()
    me, other = as_user(user), as_user()
    theirs = await other.notify()
    until = later(days=1)
    async with world.listening(user) as heard:
        first, second = await me.notify("First"), await me.notify("Second")
        await change(me, first, is_read=True)
        snoozed = await change(me, first, snoozed_until=until)
        assert datetime.fromisoformat(snoozed["snoozed_until"]) == datetime.fromisoformat(until)
        assert await shown(me) == [second["id"]]
        assert await shown(me, is_snoozed=True) == [first["id"]]
        assert await me.unread() == 1
        # The day is over.
        over = datetime.now(UTC)
        await world.sql("UPDATE notification SET snoozed_until = $1 WHERE id = $2::text::uuid", over, first["id"])
        # The four that came before were told as well.
        *_, told = [await heard() for _ in range(5)]
    assert (told["notification"]["id"], told["unread_count"]) == (first["id"], 2)
    back = await me.get(f"/notifications/{first['id']}")
    assert (back["snoozed_until"], back["is_read"], back["is_seen"]) == (None, False, False)
    assert datetime.fromisoformat(back["created_at"]) == over
    assert await shown(me) == [first["id"], second["id"]]
    assert (await shown(other), await other.unread()) == ([theirs["id"]], 1)


@pytest.mark.promise("N26")
async def test_many_come_back_once_each(as_user: Any) -> None:
    me = as_user()
    until = later(seconds=1)
    made = [await me.notify(f"Number {number}") for number in range(5)]
    for each in made:
        await change(me, each, snoozed_until=until)

    async def all_back() -> bool:
        return await me.unread() == 5

    await eventually(all_back)
    assert sorted(await shown(me)) == sorted(each["id"] for each in made)
    assert await shown(me, is_snoozed=True) == []


@pytest.mark.promise("N26")
@pytest.mark.parametrize("until", [None, "2020-01-01T00:00:00Z"])
async def test_snoozing_ends_when_its_reader_says_so(as_user: Any, until: str | None) -> None:
    me = as_user()
    made = await me.notify()
    await change(me, made, snoozed_until=later(days=1))
    assert await shown(me) == []
    woken = await change(me, made, snoozed_until=until)
    assert (woken["snoozed_until"], woken["created_at"]) == (None, made["created_at"])
    assert (await shown(me), await me.unread()) == ([made["id"]], 1)


async def test_marking_all_leaves_what_is_snoozed_alone(as_user: Any) -> None:
    me = as_user()
    made = await me.notify()
    await change(me, made, snoozed_until=later(days=1))
    marked = [(await me.call("POST", f"/notifications/mark_all_{how}")).json() for how in ("read", "seen")]
    assert [each["notifications_marked"] for each in marked] == [0, 0]
    assert (await me.get(f"/notifications/{made['id']}"))["is_read"] is False


@pytest.mark.promise("N26")
async def test_seen_is_not_read(as_user: Any) -> None:
    me, other = as_user(), as_user()
    await other.notify()
    first, second, _ = [await me.notify() for _ in range(3)]
    assert (await change(me, first, is_seen=True))["is_read"] is False
    assert await me.get("/notifications/unread_count") == {"unread_count": 3, "unseen_count": 2}
    assert (await change(me, second, is_read=True))["is_seen"] is True
    assert await me.get("/notifications/unread_count") == {"unread_count": 2, "unseen_count": 1}
    answer = (await me.call("POST", "/notifications/mark_all_seen/")).json()
    assert answer == {"status": "all_marked_seen", "notifications_marked": 1}
    assert await me.get("/notifications/unread_count") == {"unread_count": 2, "unseen_count": 0}
    assert (await other.get("/notifications/unread_count"))["unseen_count"] == 1


@pytest.mark.parametrize("until", ["tomorrow", "2026-13-01T00:00:00Z", "2026-11-22T12:00:00"])
async def test_a_time_that_is_none_is_named(as_user: Any, until: Any) -> None:
    me = as_user()
    path = f"/notifications/{(await me.notify())['id']}"
    answer = await me.call("PATCH", path, json={"snoozed_until": until})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "snoozed_until")
