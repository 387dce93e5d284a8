"""When a campaign will be over."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_service.domain.campaign_progress import smoothed
from notify_service.domain.forecasts import Pace
from notify_service.domain.quotas import Room

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


@pytest.mark.promise("N63")
def test_slow_account_takes_its_time() -> None:
    # Ten thousand mails at thirty a minute.
    assert Pace(0.5, Room(10_000, DAY, ())).seconds(10_000, NOW) == 20_000
    assert Pace(0.5, None).seconds(0, NOW) == 0
    assert Pace(None, None).seconds(10, NOW) is None
    assert Pace(10, Room(0, DAY, ())).seconds(10, NOW) is None


@pytest.mark.promise("N63")
def test_what_was_sent_lately_is_waited_for() -> None:
    # Of ten a day three are left; four come back in an hour, and three an hour later.
    room = Room(10, DAY, [(NOW - DAY + timedelta(minutes=59), 4), (NOW - DAY + timedelta(minutes=119), 3)])
    waits = {count: room.wait(count, NOW) for count in (3, 4, 7, 8, 10, 11, 13, 14)}
    assert room.left == 3
    assert waits == {
        3: 0,
        4: 3600,
        7: 3600,
        8: 7200,
        10: 7200,
        11: 86_400,
        13: 86_400,
        14: 86_400 + 3600,
    }


@given(st.integers(1, 50), st.lists(st.tuples(st.integers(0, 1439), st.integers(1, 20)), max_size=5))
def test_more_messages_never_take_less_time(limit: int, uses: list[tuple[int, int]]) -> None:
    room = Room(limit, DAY, sorted((NOW - DAY + minutes * MINUTE, used) for minutes, used in uses))
    waits = [room.wait(count, NOW) for count in range(1, 3 * limit)]
    assert all(wait is not None for wait in waits)
    assert waits == sorted(waits, key=lambda wait: wait or 0)


@pytest.mark.promise("N63")
def test_rate_is_that_of_the_last_minute() -> None:
    rate = smoothed(0.0, 10, seconds=1, age=1)
    for second in range(2, 120):
        rate = smoothed(rate, 10, seconds=1, age=second)
    assert rate == pytest.approx(10, rel=0.01)
    for second in range(120, 240):
        rate = smoothed(rate, 0, seconds=1, age=second)
    assert rate < 0.5
    assert smoothed(rate, 5, seconds=0, age=1) == rate
    assert smoothed(1.0, -100, seconds=1, age=1000) == 0
