"""How fast an account sends, and how much in a day."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notify_service.domain.channels import Rate
from notify_service.domain.limits import Limits
from notify_service.domain.quotas import _standing


class Watch:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def sent_in(limits: Limits, watch: Watch, seconds: float, late: float = 0.0) -> list[float]:
    """When messages leave, for a sender who always has one and is `late` each time."""
    times: list[float] = []
    end = watch.now + seconds
    while True:
        wait = limits.wait
        if wait > 0:
            watch.now += wait + late
            continue
        if watch.now >= end:
            return times
        limits.take("somebody")
        times.append(watch.now)


def most_in(times: list[float], seconds: float) -> int:
    """The fullest window of this length."""
    return max(sum(1 for each in times if start <= each <= start + seconds) for start in times)


@pytest.mark.promise("N42")
@pytest.mark.parametrize(("limit", "seconds"), [(80, 1), (30, 1), (1, 1), (30, 60), (5, 2)])
@pytest.mark.parametrize("late", [0.0, 0.001, 0.003])
def test_no_window_has_more_than_the_limit_and_nearly_all_of_it_is_used(limit: int, seconds: int, late: float) -> None:
    watch = Watch()
    limits = Limits([Rate("account", limit, seconds)], watch)
    times = sent_in(limits, watch, 30 * seconds, late)
    assert most_in(times, seconds) <= limit
    assert len(times) >= 0.97 * limit * 30


@pytest.mark.promise("N42")
@settings(max_examples=30)
@given(st.floats(0.5, 200), st.floats(0.1, 60), st.integers(1, 20))
def test_new_owner_begins_with_nothing_saved_up(limit: float, seconds: float, burst: int) -> None:
    watch = Watch()
    limits = Limits([Rate("account", limit, seconds, burst)], watch)
    limits.take("somebody")
    assert limits.wait > 0


@pytest.mark.promise("N42")
def test_owner_may_ask_for_less_than_the_provider_takes() -> None:
    watch = Watch()
    limits = Limits([Rate("account", 80)], watch, most=2)
    assert len(sent_in(limits, watch, 30)) in range(58, 62)


@pytest.mark.promise("N42")
async def test_what_was_held_up_on_its_way_does_not_leave_together() -> None:
    """Taken at their times, and all ready at the same: after a slow commit, or when the process was busy."""
    # As the limits have read it: a machine that stops for a moment after that is nobody's fault.
    read: list[float] = []

    def clock() -> float:
        read.append(time.monotonic())
        return read[-1]

    limits = Limits([Rate("account", 20)], clock)
    left: list[float] = []

    async def leave() -> None:
        await limits.depart()
        left.append(read[-1])

    waiting = [asyncio.create_task(leave()) for _ in range(4)]
    await waiting[0]
    # The three at the gate go before any that is not ready yet.
    assert limits.wait + read[-1] - left[0] > 3 * 0.05
    await asyncio.gather(*waiting)
    assert most_in(left, 0.14) <= 3
    assert left[-1] - left[0] > 0.14


@pytest.mark.promise("N42")
async def test_nobody_waits_at_the_gate_of_an_account_without_limits() -> None:
    limits = Limits([Rate("recipient", 1, 60)], time.monotonic)
    async with asyncio.timeout(10):
        for _ in range(1000):
            await limits.depart()


@given(st.floats(0.5, 200), st.floats(0.1, 60), st.integers(1, 20), st.floats(0, 100))
def test_messages_that_may_go_at_this_moment_are_counted(
    limit: float, seconds: float, burst: int, later: float
) -> None:
    watch = Watch()
    limits = Limits([Rate("account", limit, seconds, burst)], watch)
    watch.now += later
    may, taken = limits.tokens or 0, 0
    while limits.wait == 0:
        limits.take("somebody")
        taken += 1
    # The last one's time is come, or nearly: so much rounding makes of it.
    assert taken in (may - 1, may, may + 1)
    assert limits.tokens in (0, taken - may)
    assert Limits([], watch).tokens is None


@pytest.mark.promise("N43")
def test_limit_of_one_recipient_holds_nobody_else_up() -> None:
    watch = Watch()
    limits = Limits([Rate("recipient", 1, 6, burst=3)], watch)
    for _ in range(3):
        assert limits.wait_for("ada") == 0
        limits.take("ada")
    assert limits.wait_for("ada") > 5
    assert (limits.wait_for("bob"), limits.wait) == (0, 0)
    watch.now += 7
    assert limits.wait_for("ada") == 0


@pytest.mark.promise("N43")
def test_recipient_who_must_wait_by_the_providers_word_waits() -> None:
    watch = Watch()
    limits = Limits([], watch)
    limits.hold("ada", 10)
    assert limits.wait_for("ada") == 10
    assert (limits.wait_for("bob"), limits.wait) == (0, 0)
    watch.now += 11
    assert limits.wait_for("ada") == 0


@pytest.mark.promise("N44")
def test_limit_that_the_provider_tells_is_kept() -> None:
    watch = Watch()
    limits = Limits([], watch)
    limits.learn(1, 5)
    assert limits.wait == 0
    limits.learn(0, 5)
    assert limits.wait == 5
    watch.now += 5
    assert limits.wait == 0


NOW = datetime(2026, 1, 2, 12, 0, 30, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.promise("N45")
def test_day_slides_by_the_minute() -> None:
    old, new = NOW.replace(second=0) - DAY, NOW.replace(second=0) - timedelta(hours=1)
    counts = {old - timedelta(minutes=1): 5, old: 3, new: 4}
    found = _standing(dict(counts), 10, NOW - DAY, DAY)
    # The oldest minute is out of the day; the next one still has half of its seconds in it.
    assert (found.used, found.left, found.more_at) == (7, 3, None)
    full = _standing(dict(counts), 7, NOW - DAY, DAY)
    assert (full.left, full.more_at) == (0, old + timedelta(minutes=1) + DAY)
