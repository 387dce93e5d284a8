"""One's own conversations in one list, newest activity first. Two statements whose text never changes: what every
client asks first must be cheap."""

from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any
from uuid import UUID

from chat_service.domain import conversations
from libs.lanes import Lanes

_PAGE = (
    conversations.SELECT.replace(":user", "$1")
    + """
    AND ($2::timestamptz IS NULL OR (coalesce(c.last_message_at, c.created_at), c.number) < ($2, $3::bigint))
    AND ($5::text IS NULL OR c.type = $5) AND ($6::text IS NULL OR c.status = $6)
    AND ($7::boolean IS NULL OR (c.status = 'active') = $7)
    AND ($8::timestamptz IS NULL OR c.created_at >= $8) AND ($9::timestamptz IS NULL OR c.created_at <= $9)
    AND ($10::date IS NULL OR (c.created_at AT TIME ZONE 'UTC')::date = $10)
    AND ($11::timestamptz IS NULL OR c.last_message_at >= $11)
    AND ($12::timestamptz IS NULL OR c.last_message_at <= $12)
    ORDER BY coalesce(c.last_message_at, c.created_at) DESC, c.number DESC LIMIT $4
"""
)
_PEOPLE = conversations.PEOPLE.replace("CAST(:ids AS uuid[])", "$1::uuid[]").replace(":shown", "$2")
# When it was last active, and its number.
Key = tuple[datetime, int]


@dataclass(frozen=True, slots=True)
class Filters:
    """Those that are given."""

    conversation_type: str | None = None
    status: str | None = None
    is_active: bool | None = None
    since: datetime | None = None
    until: datetime | None = None
    on: date | None = None
    active_since: datetime | None = None
    active_until: datetime | None = None

    def values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, each.name) for each in fields(self))


EVERYTHING = Filters()


async def listed(
    lanes: Lanes, me: UUID, *, limit: int, after: Key | None = None, filters: Filters = EVERYTHING
) -> list[dict[str, Any]]:
    """`after` is the `key` of the last one seen."""
    at, number = after or (None, None)
    rows = await lanes.fetch(_PAGE, me, at, number, limit, *filters.values())
    ids = [row["conversation"] for row in rows]
    people = await lanes.fetch(_PEOPLE, ids, conversations.SHOWN_IN_LIST) if rows else []
    return [_plain(one) for one in conversations.shaped(rows, people)]


def _plain(one: dict[str, Any]) -> dict[str, Any]:
    """With ids that can become JSON, which those of the lanes cannot."""
    return {**one, "id": UUID(str(one["id"])), "created_by": UUID(str(one["created_by"]))}


def key(one: dict[str, Any]) -> Key:
    return one["last_active_at"], one["number"]
