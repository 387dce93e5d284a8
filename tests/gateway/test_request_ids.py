"""Ids of requests are UUIDs of version 7, and those of one process increase."""

from time import time
from uuid import UUID

import pytest

from gateway.domain import request_ids
from gateway.domain.request_ids import RequestIds


@pytest.mark.promise("G27")
def test_ids_increase_and_have_the_time_in_them() -> None:
    ids = RequestIds()
    before = int(time() * 1000)
    made = [ids.next().decode() for _ in range(2000)]
    after = time() * 1000
    assert made == sorted(set(made))
    for text in made:
        uuid = UUID(text)
        assert (str(uuid), uuid.version, uuid.variant) == (text, 7, UUID(int=1 << 63).variant)
    assert before <= UUID(made[0]).int >> 80 <= after
    # Random behind the counter: no two alike, also in the four bits beside the variant.
    assert len({text[19:] for text in made}) == 2000
    assert {text[19] for text in made} == set("89ab")


@pytest.mark.promise("G27")
def test_a_clock_that_stands_or_goes_back_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = RequestIds()
    first = ids.next()
    stopped = (UUID(first.decode()).int >> 80) * 1_000_000
    monkeypatch.setattr(request_ids, "time_ns", lambda: stopped - 5_000_000_000)
    made = [first, *(ids.next() for _ in range(10_000))]
    assert made == sorted(set(made))
