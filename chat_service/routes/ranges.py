"""Parts of a file (RFC 9110, sections 13 and 14)."""

import re
from typing import NamedTuple

from starlette.datastructures import Headers

_ONE_RANGE = re.compile(r"bytes=\s*(\d*)-(\d*)\s*", re.IGNORECASE | re.ASCII)
_MAX_DIGITS = 18


class Part(NamedTuple):
    """From `start` up to `end`, which is not in it."""

    start: int
    end: int


class Unsatisfiable(Exception):
    """The range begins behind the end."""


def wanted(headers: Headers, *, size: int, tag: str) -> Part | None:
    """None: the whole. Several ranges are answered with the whole, and so is one of another version."""
    asked = headers.get("range")
    condition = headers.get("if-range")
    if asked is None or (condition is not None and condition != tag):
        return None
    match = _ONE_RANGE.fullmatch(asked)
    if match is None or match.groups() == ("", "") or any(len(digits) > _MAX_DIGITS for digits in match.groups()):
        return None
    first, last = match.groups()
    if not first:
        part = Part(max(size - int(last), 0), size)
    elif last and int(last) < int(first):
        return None
    else:
        part = Part(int(first), min(int(last) + 1, size) if last else size)
    if part.start >= part.end:
        raise Unsatisfiable
    return part


def unchanged(headers: Headers, tag: str) -> bool:
    """Whether If-None-Match has the tag, so that nothing need be sent."""
    known = headers.get("if-none-match", "")
    return known.strip() == "*" or tag in (each.strip().removeprefix("W/") for each in known.split(","))
