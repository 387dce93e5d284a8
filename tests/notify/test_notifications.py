import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from libs.testing.clock import FakeClock
from tests.notify.world import World, eventually

KEYS = {
    "id", "title", "message", "category", "priority", "actor", "action_url", "image_url", "related_object_type",
    "related_object_id", "data", "is_read", "read_at", "is_seen", "snoozed_until", "is_archived", "is_clicked",
    "is_dismissed", "created_at",
}  # fmt: skip


@pytest.fixture
async def noise(as_user: Any) -> None:
    """Somebody else's notifications, which must never appear."""
    await as_user().notify("Not yours")


async def test_notification_has_the_canonical_shape_when_created(as_user: Any, noise: None) -> None:
    me = as_user()
    made = await me.notify(
        "  Build finished ",
        category="build",
        priority="high",
        action_url="/builds/7",
        extra_data={"number": 7},
        related_object_type="build",
        related_object_id="7",
    )
    assert made.keys() == KEYS
    assert (made["title"], made["category"], made["priority"], made["data"]) == (
        "Build finished", "build", "high", {"number": 7},
    )  # fmt: skip
    assert (made["is_read"], made["read_at"], made["is_archived"]) == (False, None, False)
    assert await me.get(f"/notifications/{made['id']}") == made


async def test_list_is_newest_first_and_pages_by_cursor(as_user: Any, noise: None) -> None:
    me = as_user()
    made = [(await me.notify(f"Number {n}"))["id"] for n in range(5)]
    first = await me.get("/notifications", limit=2)
    second = (await me.call("GET", first["next"].removeprefix("/api/v1"))).json()
    third = (await me.call("GET", second["next"].removeprefix("/api/v1"))).json()
    shown = [n["id"] for page in (first, second, third) for n in page["results"]]
    assert shown == made[::-1]
    assert third["next"] is None


async def test_list_filters_by_read_and_category(as_user: Any, noise: None) -> None:
    me = as_user()
    read, unread = await me.notify(category="build"), await me.notify(category="build")
    await me.notify(category="deploy")
    await me.call("PATCH", f"/notifications/{read['id']}", json={"is_read": True})
    found = await me.get("/notifications", is_read=False, category="build")
    assert [n["id"] for n in found["results"]] == [unread["id"]]


async def test_unread_count_follows_every_change(as_user: Any, noise: None) -> None:
    me = as_user()
    made = [await me.notify() for _ in range(4)]
    paths = [f"/notifications/{n['id']}" for n in made]
    await me.call("PATCH", paths[0], json={"is_read": True})
    await me.call("PATCH", paths[1], json={"is_archived": True})
    await me.call("DELETE", paths[2])
    assert await me.unread() == 1
    await me.call("PATCH", paths[0], json={"is_read": False})
    assert await me.unread() == 2


async def test_reading_again_keeps_the_first_time(aging: Any, clock: FakeClock) -> None:
    me = aging
    path = f"/notifications/{(await me.notify())['id']}"
    first = (await me.call("PATCH", path, json={"is_read": True})).json()["read_at"]
    clock.advance(60)
    again = (await me.call("PATCH", path, json={"is_read": True, "is_clicked": True, "is_dismissed": True})).json()
    assert (again["read_at"], again["is_clicked"], again["is_dismissed"]) == (first, True, True)


async def test_mark_all_read_answers_how_many_there_were(as_user: Any, noise: None) -> None:
    me, other = as_user(), as_user()
    await other.notify()
    for _ in range(3):
        await me.notify()
    answer = await me.call("POST", "/notifications/mark_all_read/")
    assert answer.json() == {"status": "all_marked_read", "notifications_marked": 3}
    assert (await me.call("POST", "/notifications/mark_all_read")).json()["notifications_marked"] == 0
    assert (await me.unread(), await other.unread()) == (0, 1)


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_anothers_notification_is_as_absent_as_none(as_user: Any, method: str) -> None:
    theirs = await as_user().notify()
    me = as_user()
    body = {"json": {"is_read": True}} if method == "PATCH" else {}
    answers = [await me.call(method, f"/notifications/{some}", **body) for some in (theirs["id"], uuid4())]
    assert [a.status_code for a in answers] == [404, 404]
    without_id = [{k: v for k, v in a.json().items() if k != "request_id"} for a in answers]
    assert without_id[0] == without_id[1]


async def test_only_staff_may_notify_somebody_else(as_user: Any, world: World) -> None:
    ada = await world.register()
    await world.heard()
    body = {"title": "Maintenance", "message": "Tonight.", "user": str(ada.user_id)}
    refused = await as_user().call("POST", "/notifications", json=body)
    allowed = await as_user(roles=["user", "support"]).call("POST", "/notifications", json=body)
    assert (refused.status_code, refused.json()["code"], allowed.status_code) == (403, "permission_denied", 201)
    titles = [n["title"] for n in (await as_user(ada.user_id).get("/notifications"))["results"]]
    assert titles[0] == "Maintenance"


async def test_staff_learn_that_a_user_does_not_exist(as_user: Any, world: World) -> None:
    body = {"title": "Hello", "message": "Anybody?", "user": str(uuid4())}
    answer = await as_user(roles=["admin"]).call("POST", "/notifications", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "user")


@pytest.mark.promise("N2")
async def test_repeated_request_has_one_effect_and_the_same_answer(as_user: Any) -> None:
    me = as_user()
    body, key = {"title": "Once", "message": "Only."}, {"Idempotency-Key": "order-1"}
    answers = await asyncio.gather(*(me.call("POST", "/notifications", json=body, headers=key) for _ in range(5)))
    assert {a.status_code for a in answers} == {201}
    assert len({json.dumps(a.json()) for a in answers}) == 1
    assert len((await me.get("/notifications"))["results"]) == 1


@pytest.mark.promise("N2")
async def test_key_with_another_body_is_refused(as_user: Any) -> None:
    me, key = as_user(), {"Idempotency-Key": "order-1"}
    await me.call("POST", "/notifications", json={"title": "One", "message": "x"}, headers=key)
    other = await me.call("POST", "/notifications", json={"title": "Two", "message": "x"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    somebody = await as_user().call("POST", "/notifications", json={"title": "Two", "message": "x"}, headers=key)
    assert somebody.status_code == 201


@pytest.mark.promise("N2")
async def test_key_is_forgotten_after_a_day(aging: Any, clock: FakeClock) -> None:
    me, key = aging, {"Idempotency-Key": "daily"}
    await me.call("POST", "/notifications", json={"title": "One", "message": "x"}, headers=key)
    clock.advance(24 * 3600 + 1)
    later = await me.call("POST", "/notifications", json={"title": "Two", "message": "x"}, headers=key)
    assert later.status_code == 201


async def test_refused_request_leaves_its_key_free(as_user: Any) -> None:
    staff, key = as_user(roles=["admin"]), {"Idempotency-Key": "again"}
    body = {"title": "Hello", "message": "x", "user": str(uuid4())}
    assert (await staff.call("POST", "/notifications", json=body, headers=key)).status_code == 422
    own = {"title": "Hello", "message": "x"}
    assert (await staff.call("POST", "/notifications", json=own, headers=key)).status_code == 201


@pytest.mark.promise("N26")
async def test_open_sockets_hear_of_every_change_with_the_count(as_user: Any, world: World) -> None:
    user = uuid4()
    me = as_user(user)
    async with world.listening(user) as heard:

        async def told() -> tuple[Any, int]:
            # The count is that of the moment of telling, so each change is waited for.
            found = await heard()
            return found["notification"], found["unread_count"]

        made = await me.notify()
        path = f"/notifications/{made['id']}"
        assert await told() == (made, 1)
        read = (await me.call("PATCH", path, json={"is_read": True})).json()
        assert await told() == (read, 0)
        await me.notify()
        assert (await told())[1] == 1
        await me.call("POST", "/notifications/mark_all_read")
        assert await told() == (None, 0)
        await me.call("DELETE", path)
        assert await told() == (None, 0)


@pytest.mark.promise("N26")
async def test_last_count_heard_is_the_true_one_when_many_come_at_once(as_user: Any, world: World) -> None:
    user = uuid4()
    me = as_user(user)
    async with world.listening(user) as heard:
        await asyncio.gather(*(me.notify() for _ in range(20)))
        counts = [(await heard())["unread_count"] for _ in range(20)]
    assert counts == sorted(counts)
    assert counts[-1] == 20


async def test_new_notification_is_announced_to_other_services(as_user: Any, world: World, api: Any) -> None:
    made = await as_user().notify()
    rows = await world.sql("SELECT data FROM outbox WHERE data->>'notification_id' = $1", made["id"])
    assert [json.loads(row["data"])["category"] for row in rows] == ["general"]


def _in(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


@pytest.mark.promise("N5")
async def test_notification_for_later_comes_at_its_time_above_what_came_before(as_user: Any, world: World) -> None:
    ada = await world.register()
    me = as_user(ada.user_id)
    before = await me.unread()
    given = {"category": "build", "action_url": "/builds/7", "extra_data": {"n": [{"deep": "{{braces}}"}]}}
    made = await me.notify("Later", scheduled_at=_in(3600), priority="urgent", **given)
    path = f"/notifications/{made['id']}"
    assert (made.keys(), made["data"], await me.unread()) == (KEYS, given["extra_data"], before)
    answers = [await me.call("GET", path), await me.call("PATCH", path, json={"is_read": True})]
    assert [answer.status_code for answer in answers] == [404, 404]
    meanwhile = await me.notify("Meanwhile")
    # The hour is over.
    await world.sql("UPDATE delivery SET next_at = now() WHERE id = $1::text::uuid", made["id"])
    shown = await eventually(lambda: _if_there(me, path))
    assert {**shown, "created_at": None} == {**made, "created_at": None}
    assert shown["created_at"] > meanwhile["created_at"]
    assert await me.unread() == before + 2
    first = (await me.get("/notifications", limit=1))["results"]
    assert [each["title"] for each in first] == ["Later"]
    # It is a delivery as well, which is over when the notification is gone.
    await me.call("DELETE", path)
    assert (await me.get(f"/deliveries/{made['id']}"))["state"] == "read"
    assert (await me.call("DELETE", path)).status_code == 404
    soon = await me.notify("Soon", scheduled_at=_in(1))
    shown = await eventually(lambda: _if_there(me, f"/notifications/{soon['id']}"))
    assert shown["created_at"] >= soon["created_at"]


async def _if_there(me: Any, path: str) -> Any:
    answer = await me.call("GET", path)
    return answer.json() if answer.status_code == 200 else None


@pytest.mark.promise("N5")
async def test_notification_for_later_is_taken_back_by_who_asked_for_it(as_user: Any, world: World) -> None:
    ada = await world.register()
    me, staff = as_user(ada.user_id), as_user(roles=["support"])
    made = await staff.notify("Later", scheduled_at=_in(60), user=str(ada.user_id))
    path = f"/notifications/{made['id']}"
    assert [(await who.call("DELETE", path)).status_code for who in (as_user(), me)] == [404, 404]
    assert (await staff.call("DELETE", path)).status_code == 204
    assert (await staff.call("DELETE", path)).status_code == 404
    assert (await staff.get(f"/deliveries/{made['id']}"))["state"] == "cancelled"
    past = await me.notify("At once", scheduled_at="2020-01-01T00:00:00Z")
    assert await me.get(f"/notifications/{past['id']}") == past
    body = {"title": "Later", "message": "x", "scheduled_at": _in(60), "user": str(ada.user_id)}
    assert (await as_user().call("POST", "/notifications", json=body)).status_code == 403


BAD_BODIES: list[Any] = [
    {}, [], "text", 7, None,
    {"title": "", "message": "x"},
    {"title": "x" * 201, "message": "x"},
    {"title": "a\x00b", "message": "x"},
    {"title": "x", "message": "y", "is_admin": True},
    {"title": "x", "message": "y", "priority": "extreme"},
    {"title": "x", "message": "y", "category": "No Spaces"},
    {"title": "x", "message": "y", "action_url": "javascript:alert(1)"},
    {"title": "x", "message": "y", "action_url": "//elsewhere.test"},
    {"title": "x", "message": "y", "extra_data": {"k": "\x00"}},
    {"title": "x", "message": "y", "extra_data": {"k": "v" * 9000}},
    {"title": "x", "message": "y", "extra_data": [1]},
    {"title": "x", "message": "y", "user": "not-a-uuid"},
    {"title": "x", "message": "y", "scheduled_at": "2030-01-01T00:00:00"},
    {"title": "x", "message": "y", "scheduled_at": "3000-01-01T00:00:00Z"},
]  # fmt: skip


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
async def test_bad_notification_is_refused_with_reasons(as_user: Any, body: Any) -> None:
    answer = await as_user().call("POST", "/notifications", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


RAW = [
    b"{", b"\xff\xfe", b'{"title": "\\ud800", "message": "x"}', b"[" * 100_000, b"",
    b'{"title": "x", "message": "y", "extra_data": {"k": "\\ud800"}}',
    b'{"title": "x", "message": "y", "extra_data": {"k": NaN}}',
    b'{"title": "x", "message": "y", "extra_data": {"k": 1e999}}',
    b'{"title": "x", "message": "y", "extra_data": {"\\u0000": 1}}',
]  # fmt: skip


@pytest.mark.parametrize("raw", RAW, ids=range(len(RAW)))
async def test_bytes_that_are_no_request_are_refused(as_user: Any, raw: bytes) -> None:
    answer = await as_user().call("POST", "/notifications", content=raw, headers={"Content-Type": "application/json"})
    assert answer.status_code in (415, 422)


@pytest.mark.parametrize(
    "path",
    [
        "/notifications?limit=0", "/notifications?limit=x", "/notifications?cursor=%00",
        "/notifications?cursor=WyJ4Il0", "/notifications?cursor=WzFd", "/notifications?is_read=maybe",
        "/deliveries?cursor=WyJ4Il0",
        "/notifications?category=%00", "/notifications?category=" + "x" * 50,
    ],
)  # fmt: skip
async def test_bad_address_is_refused(as_user: Any, path: str) -> None:
    assert (await as_user().call("GET", path)).status_code == 422


async def test_id_that_is_none_is_as_absent_as_any(as_user: Any) -> None:
    assert (await as_user().call("GET", "/notifications/7")).status_code == 404


@pytest.mark.parametrize("key", ["", "x" * 256, "with space", "ünicode".encode()])
async def test_bad_idempotency_key_is_refused(as_user: Any, key: str) -> None:
    body = {"title": "x", "message": "y"}
    answer = await as_user().call("POST", "/notifications", json=body, headers={"Idempotency-Key": key})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/notifications"), ("POST", "/notifications"), ("GET", "/notifications/unread_count"),
        ("POST", "/notifications/mark_all_read"), ("GET", f"/notifications/{UUID(int=1)}"), ("GET", "/preferences"),
        ("PATCH", "/preferences"), ("GET", "/deliveries"),
    ],
)  # fmt: skip
async def test_every_route_wants_a_token(api: httpx2.AsyncClient, method: str, path: str) -> None:
    body = {"json": {}} if method in ("POST", "PATCH") else {}
    for headers in ({}, {"Authorization": "Bearer nonsense"}):
        answer = await api.request(method, f"/api/v1{path}", headers=headers, **body)
        assert answer.status_code == 401
