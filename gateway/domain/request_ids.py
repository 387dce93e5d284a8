"""Ids of requests as text: UUIDv7, made without the objects and system calls that an ordinary one costs."""

import os
from time import time_ns

_AT_ONCE = 512
_TAIL = 16  # hexadecimal digits
_LAST_COUNT = 0xFFF


class RequestIds:
    """Increasing within a process, as `libs.ids.uuid7`: within a millisecond by a counter, which borrows from the next
    one when it is used up."""

    __slots__ = ("_beginning", "_count", "_millisecond", "_pool", "_used")

    def __init__(self) -> None:
        self._millisecond = 0
        self._beginning = b""  # of all ids of this millisecond
        self._count = 0
        self._pool = b""  # of random digits
        self._used = _TAIL * _AT_ONCE

    def next(self) -> bytes:
        now = time_ns() // 1_000_000
        count = self._count
        if now > self._millisecond:
            count = self._turn(now)
        elif count > _LAST_COUNT:
            count = self._turn(self._millisecond + 1)
        self._count = count + 1
        at = self._used
        if at >= _TAIL * _AT_ONCE:
            self._pool = _tails()
            at = 0
        self._used = at + _TAIL
        pool = self._pool
        return b"%s%03x-%s-%s" % (self._beginning, count, pool[at : at + 4], pool[at + 4 : at + _TAIL])

    def _turn(self, millisecond: int) -> int:
        self._millisecond = millisecond
        self._beginning = b"%08x-%04x-7" % (millisecond >> 16, millisecond & 0xFFFF)
        return 0


def _tails() -> bytes:
    """Random but for the variant, in which all are alike."""
    data = bytearray(os.urandom(_TAIL // 2 * _AT_ONCE))
    data[:: _TAIL // 2] = bytes(byte & 0x3F | 0x80 for byte in data[:: _TAIL // 2])
    return data.hex().encode()
