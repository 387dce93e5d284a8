"""The pure parts of the engine: what follows from an outcome, and when an account is left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_service.domain.breaker import Breaker
from notify_service.domain.channels import ErrorClass, Outcome
from notify_service.domain.verdicts import Policy, decide

POLICY = Policy(retry_base=60, retry_cap=3600, max_attempts=5)
TRANSIENT = Outcome(ErrorClass.TRANSIENT, "451")


class Seconds:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.promise("N47")
@given(st.integers(1, 4))
def test_wait_before_a_retry_doubles_at_most_and_has_a_cap(attempts: int) -> None:
    decision = decide(TRANSIENT, attempts, at_least_once=False, policy=POLICY)
    assert decision.state == "retry"
    assert 0 <= decision.delay <= min(3600, 60 * 2 ** (attempts - 1))


@pytest.mark.promise("N47")
def test_messages_that_failed_together_come_back_apart() -> None:
    delays = {decide(TRANSIENT, 3, at_least_once=False, policy=POLICY).delay for _ in range(20)}
    assert len(delays) == 20


@pytest.mark.promise("N46", "N49", "N50")
@pytest.mark.parametrize(
    ("error", "attempts", "at_least_once", "state", "reason"),
    [
        (None, 1, False, "sent", None),
        (ErrorClass.TRANSIENT, 5, False, "dead", "attempts"),
        (ErrorClass.PERMANENT, 1, True, "failed", "refused"),
        (ErrorClass.AMBIGUOUS, 1, False, "unknown", "no_answer"),
        (ErrorClass.AMBIGUOUS, 1, True, "retry", None),
        (ErrorClass.AMBIGUOUS, 5, True, "dead", "attempts"),
    ],
)
def test_outcome_leads_to_its_state(
    error: ErrorClass | None, attempts: int, at_least_once: bool, state: str, reason: str | None
) -> None:
    decision = decide(Outcome(error), attempts, at_least_once=at_least_once, policy=POLICY)
    assert (decision.state, decision.reason) == (state, reason)


@pytest.mark.promise("N48")
@pytest.mark.parametrize("error", [ErrorClass.THROTTLE, ErrorClass.AUTH, ErrorClass.UNREACHABLE])
def test_failure_of_the_account_never_ends_a_message(error: ErrorClass) -> None:
    decision = decide(Outcome(error), 99, at_least_once=False, policy=POLICY)
    assert (decision.state, decision.counts) == ("retry", False)


@pytest.mark.promise("N48")
def test_breaker_opens_after_five_failures_in_a_row() -> None:
    clock = Seconds()
    breaker = Breaker(30, clock)
    for _ in range(4):
        breaker.fail()
    breaker.succeed()
    for _ in range(4):
        breaker.fail()
    assert breaker.room(16, 0) == 16
    breaker.fail()
    assert (breaker.room(16, 0), breaker.wait) == (0, 30)


@pytest.mark.promise("N48")
def test_breaker_lets_one_try_and_doubles_its_time_when_that_fails() -> None:
    clock = Seconds()
    breaker = Breaker(30, clock)
    breaker.trip()
    clock.now += 30
    assert (breaker.room(16, 0), breaker.room(16, 1)) == (1, 0)
    breaker.fail()
    assert breaker.wait == 60
    clock.now += 60
    breaker.succeed()
    assert breaker.room(16, 3) == 16


@pytest.mark.promise("N48")
def test_messages_that_fail_with_an_open_breaker_do_not_lengthen_its_time() -> None:
    breaker = Breaker(30, Seconds())
    for _ in range(50):
        breaker.trip()
    assert breaker.wait == 30


@pytest.mark.promise("N48")
def test_breaker_never_waits_longer_than_twenty_times_its_time() -> None:
    clock = Seconds()
    breaker = Breaker(30, clock)
    for _ in range(12):
        breaker.trip()
        clock.now += breaker.wait
    breaker.trip()
    assert breaker.wait == 600
