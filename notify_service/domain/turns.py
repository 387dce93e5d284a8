"""Who goes next: lanes first, then owners in turn, then the batches of an owner in turn. Pure."""

import secrets
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

HIGH, NORMAL, BULK = range(3)
# Of nine places one is for bulk, however much of the rest there is.
_BULK_SHARE = 9

Key = TypeVar("Key", bound=Hashable)
_random = secrets.SystemRandom()


@dataclass(frozen=True, slots=True)
class Head:
    """A line of messages that wait: `due` of them may go now."""

    lane: int
    queue: str
    due: int

    @property
    def owner(self) -> str:
        return self.queue.partition("/")[0]


def turns(heads: Sequence[Head], room: int) -> dict[tuple[int, str], int]:
    """How many of each line, by lane and queue; together at most `room`."""
    bulk = sum(head.due for head in heads if head.lane == BULK)
    kept = min(bulk, room // _BULK_SHARE)
    given: dict[tuple[int, str], int] = {}
    left = room - kept
    for lane in (HIGH, NORMAL, BULK):
        if lane == BULK:
            left += kept
        of_lane = _of_lane([head for head in heads if head.lane == lane], left)
        given |= {(lane, queue): many for queue, many in of_lane.items() if many}
        left -= sum(of_lane.values())
    return given


def _of_lane(heads: Sequence[Head], room: int) -> dict[str, int]:
    owners: dict[str, dict[str, int]] = defaultdict(dict)
    for head in heads:
        owners[head.owner][head.queue] = head.due
    shares = fill({owner: sum(queues.values()) for owner, queues in owners.items()}, room)
    return {queue: many for owner, queues in owners.items() for queue, many in fill(queues, shares[owner]).items()}


def fill(wanted: Mapping[Key, int], room: int) -> dict[Key, int]:
    """Equal shares; what one does not need goes to the others. Who gets the odd ones is chance, so that where there are
    more of them than places, all come to their turn."""
    given = dict.fromkeys(wanted, 0)
    open_ = [key for key, want in wanted.items() if want > 0]
    while room > 0 and open_:
        share, odd = divmod(room, len(open_))
        if share == 0:
            _random.shuffle(open_)
            open_ = open_[:odd]
            share = 1
        for key in open_:
            more = min(share, wanted[key] - given[key])
            given[key] += more
            room -= more
        open_ = [key for key in open_ if given[key] < wanted[key]]
    return given
