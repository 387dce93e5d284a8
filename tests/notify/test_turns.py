"""Who goes next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_service.domain.turns import BULK, HIGH, NORMAL, Head, fill, turns

HEADS = st.lists(
    st.builds(
        Head,
        st.sampled_from([HIGH, NORMAL, BULK]),
        st.sampled_from(["auth", "chat", "a/1", "a/2", "b/1", "c"]),
        st.integers(1, 50),
    ),
    max_size=12,
    unique_by=lambda head: (head.lane, head.queue),
)


@pytest.mark.promise("N54")
@given(HEADS, st.integers(0, 60))
def test_every_place_is_used_and_none_twice(heads: list[Head], room: int) -> None:
    given_ = turns(heads, room)
    due = {(head.lane, head.queue): head.due for head in heads}
    assert all(0 < many <= due[key] for key, many in given_.items())
    assert sum(given_.values()) == min(room, sum(due.values()))


@pytest.mark.promise("N7")
@given(HEADS, st.integers(9, 60))
def test_higher_lanes_go_first_and_bulk_keeps_a_ninth(heads: list[Head], room: int) -> None:
    given_ = turns(heads, room)

    def sums(lane: int) -> tuple[int, int]:
        return (
            sum(many for key, many in given_.items() if key[0] == lane),
            sum(head.due for head in heads if head.lane == lane),
        )

    (high, high_due), (normal, normal_due), (bulk, bulk_due) = sums(HIGH), sums(NORMAL), sums(BULK)
    assert bulk >= min(bulk_due, room // 9)
    left = room - min(bulk_due, room // 9)
    assert high == min(high_due, left)
    assert normal == min(normal_due, left - high)


@pytest.mark.promise("N54")
def test_owners_take_turns_however_much_each_has() -> None:
    heads = [Head(BULK, "a/1", 1_000_000), Head(BULK, "a/2", 1_000_000), Head(BULK, "b/1", 5), Head(BULK, "c", 2)]
    given_ = turns(heads, 16)
    assert given_[BULK, "b/1"] == 5
    assert given_[BULK, "c"] == 2
    assert given_[BULK, "a/1"] + given_[BULK, "a/2"] == 9
    assert abs(given_[BULK, "a/1"] - given_[BULK, "a/2"]) == 1


@pytest.mark.promise("N54")
def test_of_more_owners_than_places_all_come_to_their_turn() -> None:
    wanted = {f"{number}": 1 for number in range(10)}
    served = {owner for _ in range(200) for owner, many in fill(wanted, 2).items() if many}
    assert served == set(wanted)
