"""Who shall be in an audience: checked one by one, each address once, and what is wrong with the others."""

import re
from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple
from uuid import UUID

from libs.errors import Invalid
from notify_service.domain import devices, sending
from notify_service.domain.orders import INAPP

MOST_PROBLEMS = 1000
"""Of an audience; those that come later are counted, and not kept."""
_SHOWN = 200
# What no text of the database can hold: NUL, and what stands for bytes that are not UTF-8.
UNREADABLE = re.compile("[\x00\ud800-\udfff]")


class Recipient(NamedTuple):
    """`line`: where it was given, which is also its place in the audience."""

    line: int
    address: str
    variables: dict[str, str]
    user_id: UUID | None = None


class Problem(NamedTuple):
    """Why a line is left out. `field`: `address`, `user`, the name of a variable, or `line` for all of it."""

    line: int
    field: str
    value: str
    code: str
    message: str


Given = Recipient | Problem


def problem(line: int, field: str, value: str, *, code: str, message: str) -> Problem:
    """With the value cut short, and such that it can be stored."""
    return Problem(line, field, UNREADABLE.sub("\ufffd", value[:_SHOWN]), code, message)


def checked(given: Given, channel: str) -> Given:
    """With the address in the one form that it has on this channel. A user on devices is there as such, and is reached
    on those that they have by then."""
    if isinstance(given, Problem) or (given.user_id is not None and channel in devices.CHANNELS):
        return given
    try:
        found = given._replace(address=sending.address_in(channel, given.address))
        return found._replace(user_id=UUID(found.address)) if channel == INAPP else found
    except Invalid as error:
        message = error.errors[0].message
        return problem(given.line, "address", given.address, code="invalid_address", message=message)


class Sieve:
    """Lets each address through once, and counts. `known`: addresses that are in the audience already."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        # Hashes: subscriptions of browsers have hundreds of characters each.
        self._seen = {_hash(address) for address in known}
        self.valid = self.invalid = self.duplicate = 0
        self.problems: list[Problem] = []

    def sift(self, given: Iterable[Given]) -> list[Recipient]:
        passed: list[Recipient] = []
        for each in given:
            if isinstance(each, Problem):
                self.invalid += 1
                if len(self.problems) < MOST_PROBLEMS:
                    self.problems.append(each)
                continue
            mark = _hash(each.address)
            if mark in self._seen:
                self.duplicate += 1
            else:
                self._seen.add(mark)
                passed.append(each)
        self.valid += len(passed)
        return passed

    @property
    def total(self) -> int:
        return self.valid + self.invalid + self.duplicate


def _hash(address: str) -> bytes:
    return blake2b(address.encode(), digest_size=16).digest()
