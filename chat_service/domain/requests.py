"""What a client asks over a socket, taken apart, and its fields."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from chat_service.domain import frames
from chat_service.errors import invalid
from libs.errors import BadRequest

if TYPE_CHECKING:
    from chat_service.domain.sessions import Session

_MOST_REQUESTS = 1 << 32
_MOST_SEQ = 1 << 62


class Malformed(ValueError):
    """Not a frame of this protocol; the socket is closed."""


class UnknownOperation(BadRequest):
    code = "unknown_op"
    detail = "There is no such operation."


class NotSubscribed(BadRequest):
    code = "not_subscribed"
    detail = "This socket does not follow the stream."


class Request(NamedTuple):
    number: int | None
    """None: the client wants no answer."""
    op: str
    stream: object
    data: dict[str, Any]


Handler = Callable[["Session", Request], Coroutine[Any, Any, object] | None]
"""Answers at once, or returns what is to be awaited."""


def parse(line: bytes) -> Request:
    """Raises Malformed."""
    try:
        frame = frames.load(line)
    except ValueError:
        raise Malformed("not JSON") from None
    if type(frame) is not dict:
        raise Malformed("not an object")
    number = frame.get("i")
    if number is not None and (type(number) is not int or not 0 <= number < _MOST_REQUESTS):
        raise Malformed("i is no request number")
    op = frame.get("op")
    if type(op) is not str:
        raise Malformed("op is missing")
    data = frame.get("d")
    if data is None:
        data = {}
    if type(data) is not dict:
        raise Malformed("d is not an object")
    return Request(number, op, frame.get("s"), data)


def uuid_of(data: dict[str, Any], field: str) -> UUID | None:
    """Raises Invalid."""
    value = data.get(field)
    if value is None:
        return None
    try:
        return UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise invalid(field, "This must be a UUID.") from None


def required_uuid(data: dict[str, Any], field: str) -> UUID:
    """Raises Invalid."""
    value = uuid_of(data, field)
    if value is None:
        raise invalid(field, "This field is required.")
    return value


def text_of(data: dict[str, Any], field: str) -> str:
    """Raises Invalid."""
    value = data.get(field)
    if type(value) is not str:
        raise invalid(field, "This field is required.")
    if "\x00" in value:
        raise invalid(field, "Null characters are not allowed.")
    return value


def seq_of(request: Request) -> int:
    """Raises Invalid."""
    seq = request.data.get("seq")
    if type(seq) is not int or not 0 <= seq < _MOST_SEQ:
        raise invalid("seq", "This must be the number of a message.")
    return seq


def flag_of(data: dict[str, Any], field: str) -> bool:
    """False when it is not there. Raises Invalid."""
    value = data.get(field, False)
    if type(value) is not bool:
        raise invalid(field, "This must be true or false.")
    return value


def uuids_of(data: dict[str, Any], field: str, *, most: int) -> list[UUID]:
    """Raises Invalid."""
    value = data.get(field)
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        raise invalid(field, f"This must be a list of 1 to {most} UUIDs.")
    return [required_uuid({field: each}, field) for each in value]
