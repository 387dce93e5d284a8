"""How often people call: what the gateway has counted is kept once, and shown to its owner and to staff."""

import asyncio
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from sqlalchemy import text

from auth_service.domain import exports, usage
from libs.contracts import SERVICES
from libs.contracts.usage import LATENCY_BOUNDS_MS
from tests.auth.api import Account, Api, fields
from tests.auth.test_deletion import erase
from tests.auth.test_internal import as_service

REPORT = "/internal/usage"
MINE = "/api/v1/users/me/usage"
HOUR = datetime(2026, 11, 22, 8, tzinfo=UTC)
MESSAGES = "/api/v1/messages"


def of_staff(user_id: UUID) -> str:
    return f"/api/v1/admin/auth/users/{user_id}/usage"


def row(user_id: UUID, *, hour: datetime = HOUR, route: str = MESSAGES, **counts: Any) -> dict[str, Any]:
    """One call that took 7 ms, unless `counts` say otherwise."""
    latency = [0, 1] + [0] * (len(LATENCY_BOUNDS_MS) - 1)
    values = {"calls": 1, "refused": 0, "errors": 0, "micros": 7000, "latency": latency, **counts}
    return {"user_id": str(user_id), "hour": hour.isoformat(), "route": route, **values}


def classes(**calls: int) -> list[int]:
    """`classes(up_to_5=3, over=1)`."""
    names = [*(f"up_to_{bound}" for bound in LATENCY_BOUNDS_MS), "over"]
    return [calls.get(name, 0) for name in names]


async def report(api: Api, *rows: dict[str, Any], batch: UUID | None = None) -> httpx2.Response:
    body = {"id": str(batch or uuid4()), "rows": list(rows)}
    return await api.post(REPORT, body, headers=as_service(api, "gateway"))


async def shown(api: Api, made: Account, query: str = "") -> list[dict[str, Any]]:
    answer = await api.get(MINE + query, made.access)
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def where(rows: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(each["hour"], each["route"]) for each in rows]


@pytest.mark.promise("G43")
async def test_usage_is_shown_by_hour_and_route_to_its_owner(api: Api) -> None:
    made, other = await api.register(), await api.register()
    earlier = HOUR - timedelta(hours=1)
    rows = [row(made.id), row(made.id, route="/api/v1/users"), row(made.id, hour=earlier)]
    assert (await report(api, *rows, row(other.id, calls=9))).json() == {"new": True}
    found = await shown(api, made)
    assert where(found) == [
        ("2026-11-22T08:00:00Z", MESSAGES),
        ("2026-11-22T08:00:00Z", "/api/v1/users"),
        ("2026-11-22T07:00:00Z", MESSAGES),
    ]
    assert {each["calls"] for each in found} == {1}
    assert (await shown(api, other))[0]["calls"] == 9


@pytest.mark.promise("G43")
async def test_usage_of_an_hour_adds_up(api: Api) -> None:
    made = await api.register()
    quick, slow = classes(up_to_5=90, up_to_50=6), classes(up_to_250=3, over=1)
    await report(api, row(made.id, calls=96, refused=5, micros=400_000, latency=quick))
    await report(api, row(made.id, calls=4, errors=2, micros=100_000, latency=slow))
    (found,) = await shown(api, made)
    assert (found["calls"], found["refused"], found["errors"]) == (100, 5, 2)
    assert found["latency"] == {
        "mean_ms": 5.0,
        "p50_ms": 5,
        "p95_ms": 50,
        "classes": classes(up_to_5=90, up_to_50=6, up_to_250=3, over=1),
    }


async def test_nothing_is_claimed_of_what_took_longer_than_the_last_bound(api: Api) -> None:
    made = await api.register()
    await report(api, row(made.id, latency=classes(over=1)))
    (found,) = await shown(api, made)
    assert (found["latency"]["p50_ms"], found["latency"]["p95_ms"]) == (None, None)


@pytest.mark.promise("G43")
async def test_a_batch_that_comes_again_counts_once(api: Api) -> None:
    made, batch = await api.register(), uuid4()
    answers = await asyncio.gather(*(report(api, row(made.id), batch=batch) for _ in range(8)))
    assert sorted(answer.json()["new"] for answer in answers) == [False] * 7 + [True]
    assert (await shown(api, made))[0]["calls"] == 1


async def test_batches_of_the_same_people_do_not_wait_in_a_circle(api: Api) -> None:
    people = [await api.register() for _ in range(6)]
    rows = [row(made.id) for made in people]
    answers = await asyncio.gather(*(report(api, *(rows if n % 2 else reversed(rows))) for n in range(12)))
    assert {answer.status_code for answer in answers} == {200}
    assert [(await shown(api, made))[0]["calls"] for made in people] == [12] * 6


@pytest.mark.promise("G43")
async def test_calls_of_nobody_are_nobodys(api: Api) -> None:
    made, gone, nobody = await api.register(), await api.register(), uuid4()
    await report(api, row(gone.id))
    await erase(api, gone)
    await report(api, row(gone.id), row(nobody), row(made.id))
    kept = await api.sql("SELECT user_id FROM api_usage WHERE user_id = ANY(:ids)", ids=[gone.id, nobody, made.id])
    assert [each.user_id for each in kept] == [made.id]


@pytest.mark.promise("G43")
async def test_an_account_that_is_being_erased_gets_no_row_after_its_last(api: Api) -> None:
    made = await api.register()
    async with api.db.transaction() as db:
        await db.execute(text("SELECT 1 FROM users WHERE id = :id FOR UPDATE"), {"id": made.id})
        reporting = asyncio.create_task(report(api, row(made.id)))
        async with asyncio.timeout(20):
            while not await api.sql(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'api_usage'"
            ):
                await asyncio.sleep(0.01)
        await db.execute(text("UPDATE users SET status = 'deleted' WHERE id = :id"), {"id": made.id})
    assert (await reporting).json() == {"new": True}
    assert await api.sql("SELECT 1 FROM api_usage WHERE user_id = :id", id=made.id) == []


@pytest.mark.promise("G43", "A54")
async def test_usage_is_part_of_the_copy_of_an_account(api: Api) -> None:
    made = await api.register()
    await report(api, row(made.id, calls=3))
    ordered = (await api.post("/api/v1/users/me/exports", None, made.access)).json()
    await exports.make_waiting(api.db, api.app.state.cipher, api.clock)
    copy = (await api.get(f"/api/v1/users/me/exports/{ordered['id']}/document", made.access)).json()
    assert [(each["route"], each["calls"]) for each in copy["usage"]] == [(MESSAGES, 3)]


@pytest.mark.promise("G43")
async def test_usage_is_walked_in_pages(api: Api) -> None:
    made = await api.register()
    rows = [row(made.id, hour=HOUR - timedelta(hours=h), route=f"/r{r}") for h in range(3) for r in range(3)]
    await report(api, *rows)
    walked: list[tuple[str, str]] = []
    address: str | None = f"{MINE}?limit=2"
    while address is not None:
        page = (await api.get(address, made.access)).json()
        walked += where(page["results"])
        address = page["next"]
    assert walked == sorted(sorted(walked, key=lambda each: each[1]), key=lambda each: each[0], reverse=True)
    assert len(walked) == len(set(walked)) == 9


@pytest.mark.parametrize(
    ("query", "hours"),
    [
        ("?from=2026-11-22T08:00:00Z", [8, 9]),
        ("?from=2026-11-22T07:00:01Z&to=2026-11-22T09:00:00Z", [8]),
        ("?from=2026-11-22T09:00:00%2B01:00&to=2026-11-22T08:30:00Z", [8]),
        ("?to=2026-11-22T08:00:00Z", [7]),
        ("?route=/other", []),
        ("?route=/api/v1/messages&to=2026-11-22T08:00:00Z", [7]),
    ],
)
async def test_usage_of_some_hours_and_routes(api: Api, query: str, hours: list[int]) -> None:
    made = await api.register()
    await report(api, *(row(made.id, hour=HOUR.replace(hour=hour)) for hour in (7, 8, 9)))
    assert sorted(datetime.fromisoformat(each["hour"]).hour for each in await shown(api, made, query)) == hours


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?from=2026-11-22T08:00:00Z&to=2026-11-22T08:00:00Z", "to"),
        ("?from=2026-11-22T08:00:00Z&to=2026-11-21T08:00:00Z", "to"),
        ("?from=yesterday", "from"),
        ("?to=2026-11-22T08:00:00", "to"),
        ("?from=9999-12-31T23:59:59-23:59", "from"),
        ("?route=" + "x" * 201, "route"),
        ("?route=%00", "route"),
        ("?limit=101", "limit"),
        ("?cursor=x", "cursor"),
        ("?cursor=WzEsMl0", "cursor"),  # [1,2]
        ("?cursor=WzkyMjMzNzIwMzY4NTQ3NzU4MDcsIi8iXQ", "cursor"),  # [9223372036854775807,"/"]
        ("?cursor=WzEsIlx1ZDgwMCJd", "cursor"),  # [1,"\ud800"]
    ],
)
async def test_a_range_that_is_none_is_refused_by_its_field(api: Api, query: str, field: str) -> None:
    made = await api.register()
    for address in (MINE, of_staff(made.id)):
        answer = await api.get(address + query, (await api.staff("support")).access)
        assert (answer.status_code, set(fields(answer))) == (422, {field}), answer.text


@pytest.mark.promise("G43")
async def test_staff_reads_the_usage_of_an_account(api: Api) -> None:
    made, other = await api.register(), await api.register()
    await report(api, row(made.id, calls=5), row(other.id))
    for role in ("support", "moderator", "admin"):
        found = (await api.get(of_staff(made.id), (await api.staff(role)).access)).json()["results"]
        assert [each["calls"] for each in found] == [5]
    assert (await api.get(of_staff(uuid4()), (await api.staff("support")).access)).status_code == 404


@pytest.mark.promise("G43", "Z1")
async def test_nobody_else_reads_it(api: Api) -> None:
    made, other = await api.register(), await api.register()
    await report(api, row(made.id))
    answer = await api.get(of_staff(made.id), other.access)
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert await shown(api, other) == []
    for path in (MINE, of_staff(made.id)):
        assert (await api.get(path)).status_code == 401


@pytest.mark.promise("A50", "G43")
async def test_only_the_gateway_reports(api: Api) -> None:
    made = await api.register()
    body = {"id": str(uuid4()), "rows": [row(made.id)]}
    for service in set(SERVICES) - {"gateway"}:
        assert (await api.post(REPORT, body, headers=as_service(api, service))).status_code == 403
    assert (await api.post(REPORT, body, made.access)).status_code == 403
    assert (await api.post(REPORT, body)).status_code == 401
    assert await shown(api, made) == []


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row(uuid4()) for _ in range(1001)],
        [row(UUID(int=1)), row(UUID(int=1))],
        [row(uuid4(), latency=[1])],
        [row(uuid4(), calls=-1)],
        [row(uuid4(), micros=1 << 53)],
        [row(uuid4(), route="")],
        [{**row(uuid4()), "hour": "2026-11-22T08:00:00"}],
    ],
    ids=["none", "too_many", "twice", "few_classes", "negative", "too_large", "no_route", "no_zone"],
)
async def test_a_batch_that_cannot_be_meant_is_refused(api: Api, rows: list[dict[str, Any]]) -> None:
    assert (await report(api, *rows)).status_code == 422


@pytest.mark.promise("G43")
async def test_usage_is_kept_for_its_days_and_batches_for_one(alone: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "_FORGOTTEN_AT_ONCE", 2)  # so that it takes several transactions
    made, batch = await alone.register(), uuid4()
    now = alone.clock.now().replace(minute=0, second=0, microsecond=0)
    old = [row(made.id, hour=now - timedelta(days=91), route=f"/r{n}") for n in range(5)]
    await report(alone, *old, row(made.id, hour=now - timedelta(days=89)), batch=batch)
    await usage.forget(alone.db, alone.clock, keep=timedelta(days=90))
    assert [each["route"] for each in await shown(alone, made)] == [MESSAGES]
    assert (await report(alone, row(made.id), batch=batch)).json() == {"new": False}
    alone.clock.advance(86_401)
    await usage.forget(alone.db, alone.clock, keep=timedelta(days=90))
    assert await alone.sql("SELECT id FROM counted_batches") == []


@pytest.mark.promise("G43")
async def test_usage_is_described(api: Api) -> None:
    document = (await api.get("/api/v1/auth/openapi.json")).json()
    for path in (MINE, "/api/v1/admin/auth/users/{user_id}/usage"):
        operation = document["paths"][path]["get"]
        assert {"from", "to", "route", "limit", "cursor"} <= {each["name"] for each in operation["parameters"]}
        assert {"200", "401", "422"} <= operation["responses"].keys()
    assert document["components"]["schemas"]["UsageShown"]["examples"]
    assert REPORT not in json.dumps(document)
