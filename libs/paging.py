"""Keyset pages: a cursor is the sort key of the last row, so a page costs the same however deep it lies."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Depends, Query, Request
from pydantic import BaseModel

from libs.errors import FieldError, Invalid

Row = TypeVar("Row")
Shape = TypeVar("Shape")
Key = tuple[str | int | UUID | datetime, ...]
# Before a cursor that leads back; base64 has no such character.
_BACK = "~"


class Page(BaseModel, Generic[Shape]):
    """`next` and `previous` are addresses, or null at the end."""

    results: list[Shape]
    next: str | None = None
    previous: str | None = None


class CountedPage(Page[Shape], Generic[Shape]):
    """A page that was asked for with `?count=true`."""

    count: int


@dataclass(frozen=True, slots=True)
class PageRequest:
    """`after` is the key of the last row seen, empty for the first page. `backward`: the rows before it are wanted,
    nearest first."""

    limit: int
    after: tuple[Any, ...]
    path: str
    query: tuple[tuple[str, str], ...]
    backward: bool = False

    @property
    def last(self) -> Any:
        """The key of the last row seen, where it has one part; None for the first page."""
        return self.after[0] if self.after else None

    @property
    def key(self) -> Any:
        """The same where it has several."""
        return self.after or None

    def page(self, rows: Sequence[Row], key: Callable[[Row], Key]) -> Page[Row]:
        """`rows` holds one row more than `limit` when there is a next page."""
        shown = list(rows[: self.limit])
        following = self._address(key(shown[-1])) if len(rows) > self.limit else None
        return Page.model_construct(results=shown, next=following, previous=None)

    def page_both_ways(self, rows: Sequence[Row], key: Callable[[Row], Key]) -> Page[Row]:
        """The same for lists that also lead back."""
        shown = list(rows[: self.limit])
        more = len(rows) > self.limit
        before, behind = (more, True) if self.backward else (bool(self.after), more)
        if self.backward:
            shown.reverse()
        return Page.model_construct(
            results=shown,
            next=self._address(key(shown[-1])) if shown and behind else None,
            previous=self._address(key(shown[0]), _BACK) if shown and before else None,
        )

    def _address(self, key: Key, way: str = "") -> str:
        query = [(k, v) for k, v in self.query if k != "cursor"] + [("cursor", way + encode_cursor(key))]
        return f"{self.path}?{urlencode(query)}"


def encode_cursor(key: Key) -> str:
    said = json.dumps(key, separators=(",", ":"), default=str)
    return base64.urlsafe_b64encode(said.encode()).decode().rstrip("=")


def decode_cursor(cursor: str, *types: type) -> tuple[Any, ...]:
    """The key in a cursor, or Invalid when it was not made by `encode_cursor` for these types."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        values = json.loads(raw)
        parts = values if isinstance(values, list) else []
        return tuple(_READ[kind](part) for kind, part in zip(types, parts, strict=True))
    except (ValueError, RecursionError, OverflowError):
        raise Invalid(errors=[FieldError("cursor", "This cursor is not valid.")]) from None


def _number(value: Any) -> int:
    if type(value) is not int or abs(value) >= 1 << 63:
        raise ValueError
    return value


def _text(value: Any) -> str:
    """What PostgreSQL can hold as one: without NUL, and in UTF-8, which half of a surrogate pair is not."""
    if not isinstance(value, str) or "\x00" in value:
        raise ValueError
    value.encode()
    return value


def _moment(value: Any) -> datetime:
    found = datetime.fromisoformat(_text(value))
    if found.tzinfo is None:
        raise ValueError
    return found.astimezone(UTC)


# Whatever else would only fail in the database.
_READ: dict[type, Callable[[Any], Any]] = {
    int: _number,
    str: _text,
    UUID: lambda value: UUID(_text(value)),
    datetime: _moment,
}


def keyset(*types: type, both_ways: bool = False) -> Callable[..., PageRequest]:
    """A dependency that reads `limit` and `cursor` for a list sorted by a key of these types."""

    async def read(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=100, description="Rows a page.")] = 20,
        cursor: Annotated[str | None, Query(max_length=512, description="From `next` of the page before.")] = None,
    ) -> PageRequest:
        backward = both_ways and cursor is not None and cursor.startswith(_BACK)
        after = decode_cursor(cursor[len(_BACK) :] if backward else cursor, *types) if cursor else ()
        return PageRequest(limit, after, request.url.path, tuple(request.query_params.multi_items()), backward)

    return Depends(read)  # type: ignore[no-any-return]
