"""Hours in which people are left alone."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_service.domain.quiet import QuietHours, instant, zone_of
from tests.notify.world import World, eventually

BERLIN = "Europe/Berlin"


def around_now(timezone: str) -> dict[str, str]:
    """Hours that hold now, and for a while."""
    local = datetime.now(UTC).astimezone(zone_of(timezone))
    return {"start": f"{local - timedelta(hours=2):%H:%M}", "end": f"{local + timedelta(hours=2):%H:%M}"}


@pytest.mark.promise("N56")
async def test_message_waits_for_the_end_of_the_hours_and_is_not_dropped(world: World, as_user: Any) -> None:
    ada, grace = await world.register(timezone="Asia/Tokyo"), await world.register()
    me, hours = as_user(ada.user_id), around_now("Asia/Tokyo")
    shown = (await me.call("PATCH", "/preferences", json={"quiet_hours": hours})).json()
    assert shown["quiet_hours"] == {**hours, "timezone": "Asia/Tokyo"}
    await world.say(ada, grace)
    await world.ended(grace)

    async def waiting() -> Any:
        [row] = await world.deliveries(ada)
        return row if row["reason"] == "quiet_hours" and row["state"] == "retry" else None

    row = await eventually(waiting)
    assert timedelta(hours=1, minutes=50) < row["next_at"] - datetime.now(UTC) <= timedelta(hours=2)
    assert (row["attempts"], world.mails(ada)) == (0, [])
    assert (await me.get("/notifications"))["results"][0]["category"] == "message"
    # What cannot wait does not.
    await world.ask_to_verify(ada)
    await eventually(lambda: len(world.mails(ada)) == 1)
    await me.call("PATCH", "/preferences", json={"quiet_hours": None})
    assert {row["state"] for row in await world.ended(ada, 2)} == {"sent"}
    assert len(world.mails(ada)) == 2


@pytest.mark.parametrize(
    "hours", [{"start": "22:00"}, {"start": "22:00:30", "end": "07:00"}, {"start": "25:00", "end": "1"}, []]
)
async def test_hours_that_are_none_are_refused(as_user: Any, hours: Any) -> None:
    me = as_user()
    answer = await me.call("PATCH", "/preferences", json={"quiet_hours": hours})
    assert answer.status_code == 422
    assert (await me.get("/preferences"))["quiet_hours"] is None


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.promise("N56")
@pytest.mark.parametrize(
    ("start", "end", "zone", "now", "until"),
    [
        ("22:00", "07:00", BERLIN, "2026-01-10T20:59:59", None),
        ("22:00", "07:00", BERLIN, "2026-01-10T21:00:00", "2026-01-11T06:00:00"),
        ("22:00", "07:00", BERLIN, "2026-01-11T05:59:59", "2026-01-11T06:00:00"),
        ("22:00", "07:00", BERLIN, "2026-01-11T06:00:00", None),
        ("13:00", "15:00", "Asia/Kolkata", "2026-01-10T08:00:00", "2026-01-10T09:30:00"),
        ("13:00", "13:00", BERLIN, "2026-01-10T12:00:00", None),
        # The night in which the clock goes from 2 to 3: an end at 2:30 comes as it is put forward.
        ("22:00", "02:30", BERLIN, "2026-03-28T23:00:00", "2026-03-29T01:00:00"),
        ("22:00", "07:00", BERLIN, "2026-03-28T23:00:00", "2026-03-29T05:00:00"),
        # A beginning that the clock never shows begins as it is put forward.
        ("02:30", "06:00", BERLIN, "2026-03-29T00:59:59", None),
        ("02:30", "06:00", BERLIN, "2026-03-29T01:00:00", "2026-03-29T04:00:00"),
        # The night in which it shows 2 to 3 twice: the first 2:30 counts.
        ("22:00", "02:30", BERLIN, "2026-10-25T00:29:59", "2026-10-25T00:30:00"),
        ("22:00", "02:30", BERLIN, "2026-10-25T00:30:00", None),
        ("02:30", "06:00", BERLIN, "2026-10-25T00:45:00", "2026-10-25T05:00:00"),
        ("00:00", "06:00", "Nowhere/AtAll", "2026-01-10T05:00:00", "2026-01-10T06:00:00"),
    ],
)
def test_hours_hold_by_the_clock_of_the_place(start: str, end: str, zone: str, now: str, until: Any) -> None:
    hours = QuietHours(time.fromisoformat(start), time.fromisoformat(end), zone)
    assert hours.until(at(now)) == (at(until) if until else None)


ZONES = st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia", "UTC"])
CLOCKS = st.times().map(lambda clock: clock.replace(microsecond=0))
MOMENTS = st.integers(0, 5 * 365 * 86_400).map(
    lambda seconds: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)


@pytest.mark.promise("N56")
@given(CLOCKS, CLOCKS, ZONES, MOMENTS)
def test_hours_end_within_a_day_and_are_over_then(start: time, end: time, zone: str, now: datetime) -> None:
    hours = QuietHours(start, end, zone)
    until = hours.until(now)
    if until is None:
        return
    assert now < until <= now + timedelta(hours=26)
    assert hours.until(until) is None or start == end
    assert hours.until(until - timedelta(seconds=1)) == until


@pytest.mark.promise("N56")
@given(CLOCKS, ZONES, st.dates(date(2024, 1, 1), date(2029, 1, 1)))
def test_instant_is_the_first_at_which_the_clock_shows_it_or_more(clock: time, zone: str, day: Any) -> None:
    found = instant(day, clock, zone_of(zone)).astimezone(zone_of(zone)).replace(tzinfo=None)
    wanted = datetime.combine(day, clock)
    assert wanted <= found < wanted + timedelta(hours=25)
