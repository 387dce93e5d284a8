"""Keyset pages: a cursor is the sort key of the last row, so a page costs the same however deep it lies."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Request
from pydantic import BaseModel

from libs.errors import FieldError, Invalid

Row = TypeVar("Row")
Shape = TypeVar("Shape")


class Page(BaseModel, Generic[Shape]):
    """`next` and `previous` are addresses, or null at the end."""

    results: list[Shape]
    next: str | None = None
    previous: str | None = None


@dataclass(frozen=True, slots=True)
class PageRequest:
    """`after` is the key of the last row seen, empty for the first page."""

    limit: int
    after: tuple[str | int, ...]
    path: str
    query: tuple[tuple[str, str], ...]

    def page(self, rows: Sequence[Row], key: Callable[[Row], tuple[str | int, ...]]) -> Page[Row]:
        """`rows` holds one row more than `limit` when there is a next page."""
        shown = list(rows[: self.limit])
        following = self._address(key(shown[-1])) if len(rows) > self.limit else None
        return Page.model_construct(results=shown, next=following, previous=None)

    def _address(self, key: tuple[str | int, ...]) -> str:
        query = [(k, v) for k, v in self.query if k != "cursor"] + [("cursor", encode_cursor(key))]
        return f"{self.path}?{urlencode(query)}"


def encode_cursor(key: tuple[str | int, ...]) -> str:
    return base64.urlsafe_b64encode(json.dumps(key, separators=(",", ":")).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, *types: type) -> tuple[str | int, ...]:
    """The key in a cursor, or Invalid when it was not made by `encode_cursor` for these types."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        values = json.loads(raw)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or [type(v) for v in values] != list(types) or _out_of_range(values):
        raise Invalid(errors=[FieldError("cursor", "This cursor is not valid.")])
    return tuple(values)


def _out_of_range(values: list[str | int]) -> bool:
    """Numbers beyond bigint and texts with NUL would only fail in the database."""
    return any(abs(v) >= 1 << 63 if isinstance(v, int) else "\x00" in v for v in values)


def keyset(*types: type) -> Callable[..., PageRequest]:
    """A dependency that reads `limit` and `cursor` for a list sorted by a key of these types."""

    def read(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=100, description="Rows a page.")] = 20,
        cursor: Annotated[str | None, Query(max_length=512, description="From `next` of the page before.")] = None,
    ) -> PageRequest:
        after = decode_cursor(cursor, *types) if cursor else ()
        return PageRequest(limit, after, request.url.path, tuple(request.query_params.multi_items()))

    return Depends(read)  # type: ignore[no-any-return]
