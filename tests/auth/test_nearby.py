"""People nearby: only among those who share, coarse, and no longer than a day."""

import asyncio
import math

import pytest

from tests.auth.api import Account, Api, fields
from tests.auth.people import block, staff

HERE = "/api/v1/users/me/location"
KM = 1 / 111.195


async def at(api: Api, latitude: float, longitude: float) -> Account:
    made = await api.register()
    answer = await put(api, made, latitude, longitude)
    assert answer == 200
    return made


async def put(api: Api, made: Account, latitude: float, longitude: float) -> int:
    body = {"latitude": latitude, "longitude": longitude}
    return (await api.call("PUT", HERE, made.access, json=body)).status_code


async def near(api: Api, made: Account, **query: int) -> dict[str, int]:
    answer = await api.get("/api/v1/users/nearby", made.access, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.json()["count"] == len(answer.json()["results"])
    return {user["id"]: user["distance_km"] for user in answer.json()["results"]}


@pytest.mark.promise("K43")
async def test_only_people_who_share_see_each_other(api: Api) -> None:
    one, two, none = await at(api, 10, 10), await at(api, 10.02, 10), await api.register()
    assert str(two.id) in await near(api, one)
    assert str(one.id) in await near(api, two)
    assert str(none.id) not in await near(api, one)
    answer = await api.get("/api/v1/users/nearby", none.access)
    assert (answer.status_code, answer.json()["detail"]) == (403, "Share your own location first.")


@pytest.mark.promise("K43")
async def test_after_stopping_nobody_finds_one(api: Api) -> None:
    one, two = await at(api, 11, 10), await at(api, 11, 10)
    assert (await api.call("DELETE", HERE, two.access)).status_code == 204
    assert await near(api, one) == {}
    assert (await api.get("/api/v1/users/nearby", two.access)).status_code == 403
    assert (await api.call("DELETE", HERE, two.access)).status_code == 204


@pytest.mark.promise("K43")
async def test_distances_are_whole_kilometres_rounded_up_the_nearest_first(api: Api) -> None:
    one = await at(api, 12, 10)
    made = [await at(api, 12 + km * KM, 10) for km in (4.6, 0, 1.5)]
    assert list((await near(api, one)).items()) == [(str(made[1].id), 1), (str(made[2].id), 2), (str(made[0].id), 5)]
    assert list(await near(api, one, limit=2)) == [str(made[1].id), str(made[2].id)]
    assert list(await near(api, one, radius_km=1)) == [str(made[1].id)]


@pytest.mark.promise("K43")
async def test_moving_about_and_looking_finds_nobody_exactly(api: Api) -> None:
    """From wherever one looks, all places within a cell of the grid look the same."""
    one, somebody = await at(api, 12.5, 20), await at(api, 12.5012, 20.0041)
    seen = []
    for latitude, longitude in ((12.5012, 20.0041), (12.5048, 19.9953), (12.4957, 20.0003)):
        assert await put(api, somebody, latitude, longitude) == 200
        row = []
        for step in range(8):
            assert await put(api, one, 12.506 + step / 1000, 20.002) == 200
            row.append((await near(api, one))[str(somebody.id)])
        seen.append(row)
    assert seen[0] == seen[1] == seen[2]
    assert len(set(seen[0])) > 1


@pytest.mark.promise("K43")
async def test_exact_positions_stay(api: Api) -> None:
    one = await api.register()
    answer = await api.call("PUT", HERE, one.access, json={"latitude": 13.1234567, "longitude": 10.9876543})
    assert {k: v for k, v in answer.json().items() if k != "expires_at"} == {"latitude": 13.123, "longitude": 10.988}
    stored = await api.sql("SELECT latitude, longitude FROM locations WHERE user_id = :id", id=one.id)
    assert tuple(stored[0]) == (13.123, 10.988)
    two = await at(api, 13.124, 10.988)
    shown = (await api.get("/api/v1/users/nearby", two.access)).json()["results"][0]
    profile = (await api.get(f"/api/v1/users/{one.id}", two.access)).json()
    assert shown.keys() - profile.keys() == {"distance_km"}


async def test_a_position_is_forgotten_after_a_day(aging: Api) -> None:
    one = await at(aging, 14, 10)
    aging.clock.advance(24 * 3600 - 60)
    two = await at(aging, 14, 10)
    assert str(one.id) in await near(aging, two)
    aging.clock.advance(61)
    assert await near(aging, two) == {}


async def test_blocked_people_are_never_near(api: Api) -> None:
    one, two = await at(api, 15, 10), await at(api, 15, 10)
    await block(api, one, two)
    assert await near(api, one) == await near(api, two) == {}


async def test_staff_are_like_everybody_else(api: Api) -> None:
    made, support = await at(api, 16, 10), await staff(api, "support")
    assert (await api.get("/api/v1/users/nearby", support.access)).status_code == 403
    await put(api, support, 16, 10)
    await block(api, made, support)
    assert await near(api, support) == {}


@pytest.mark.parametrize(
    ("one", "two", "kilometres"),
    [
        ((17, 179.99), (17, -179.99), 3),
        ((17, 180), (17, -180), 1),
        ((-17, -179.99), (-17, 179.99), 3),
        ((89.99, 0), (89.99, 180), 3),
        ((-89.99, -90), (-89.99, 90), 3),
        ((90, 0), (89.98, 77), 3),
        ((89.5, 0), (89.5, 40), 39),
        ((70, 0), (70, 1.3), 50),
        ((0, 0), (0, -0.4), 45),
        ((0, 0.1), (0.4, 0.1), 45),
    ],
)
async def test_the_earth_is_round(
    api: Api, one: tuple[float, float], two: tuple[float, float], kilometres: int
) -> None:
    first, second = await at(api, *one), await at(api, *two)
    assert (await near(api, first, radius_km=50, limit=50))[str(second.id)] == kilometres
    assert (await near(api, second, radius_km=50, limit=50))[str(first.id)] == kilometres
    for made in (first, second):
        await api.call("DELETE", HERE, made.access)


async def test_nobody_inside_the_circle_is_left_out(api: Api) -> None:
    """Around a place in the north, where a degree of longitude is short."""
    one = await at(api, 65, 20)
    ring = []
    for step in range(6):
        angle = math.radians(step * 60 + 15)
        latitude = 65 + 9.8 * KM * math.sin(angle)
        ring.append(await at(api, latitude, 20 + 9.8 * KM * math.cos(angle) / math.cos(math.radians(latitude))))
    assert (await near(api, one, radius_km=10)).keys() == {str(made.id) for made in ring}
    assert await near(api, one, radius_km=9) == {}


@pytest.mark.parametrize(
    "body",
    [
        {"latitude": 90.001, "longitude": 0},
        {"latitude": 0, "longitude": -180.001},
        {"latitude": "52", "longitude": 0},
        {"latitude": None, "longitude": 0},
        {"latitude": True, "longitude": 0},
    ],
)
async def test_places_that_are_not_on_earth_are_refused(api: Api, body: dict[str, object]) -> None:
    made = await api.register()
    answer = await api.call("PUT", HERE, made.access, json=body)
    assert (answer.status_code, len(fields(answer))) == (422, 1)
    for text in ('{"latitude": NaN, "longitude": 0}', '{"latitude": 1e999, "longitude": 0}'):
        odd = await api.call("PUT", HERE, made.access, content=text, headers={"Content-Type": "application/json"})
        assert odd.status_code == 422


@pytest.mark.parametrize("query", [{"radius_km": 0}, {"radius_km": 51}, {"limit": 0}, {"limit": 51}])
async def test_circles_have_bounds(api: Api, query: dict[str, int]) -> None:
    made = await at(api, 18, 10)
    answer = await api.get("/api/v1/users/nearby", made.access, params=query)
    assert (answer.status_code, list(fields(answer))) == (422, list(query))


@pytest.mark.promise("K43")
async def test_one_looks_thirty_times_a_minute(api: Api) -> None:
    made, other = await at(api, 19, 10), await at(api, 19, 20)
    statuses: list[int] = []
    # Some at once. All at once would wait for one row for longer than a request may, on a machine that is busy.
    for several in (10, 10, 11):
        answers = await asyncio.gather(*(api.get("/api/v1/users/nearby", made.access) for _ in range(several)))
        statuses += [answer.status_code for answer in answers]
    assert sorted(statuses) == [200] * 30 + [429]
    assert (await api.get("/api/v1/users/nearby", other.access)).status_code == 200
