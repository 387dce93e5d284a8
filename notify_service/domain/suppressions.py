"""Addresses that get nothing more, on a channel as a whole or of a category."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, case, delete, func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.db import one_of
from libs.errors import NotFound
from notify_service.models import Suppression

ALL = "*"
REASON = "suppressed"
UNSUBSCRIBE = "unsubscribe"
"""Why an address is suppressed whose owner has asked for it, and may take it back."""


_HOLDING = or_(Suppression.until.is_(None), Suppression.until > bindparam("now"))
_AMONG = select(Suppression.address, Suppression.category).where(
    Suppression.channel == bindparam("channel"), one_of(Suppression.address, "addresses"), _HOLDING
)


class Entry(NamedTuple):
    channel: str
    address: str
    category: str
    reason: str
    user_id: UUID | None = None
    """Whose link says so, of a message to a user of ours."""


Found = frozenset[tuple[str, str]]
"""Address and category."""
Others = Mapping[str, Collection[str]]
"""Further addresses of whom an address belongs to."""


async def add(db: AsyncSession, entries: Iterable[Entry], now: datetime) -> None:
    """Those that are there already stay as they are, for good if they were for a time. What their owner had asked for
    is no longer theirs to take back where somebody else asks for it too."""
    # Sorted: two workers lock the rows in the same order.
    rows = [{**entry._asdict(), "created_at": now} for entry in sorted(set(entries), key=lambda entry: entry[:3])]
    if rows:
        keys = ["channel", "address", "category"]
        statement = insert(Suppression)
        changed = {
            "until": None,
            "reason": case((Suppression.reason == UNSUBSCRIBE, statement.excluded.reason), else_=Suppression.reason),
            "user_id": func.coalesce(statement.excluded.user_id, Suppression.user_id),
        }
        await db.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), rows)


async def page(
    db: AsyncSession, *, address: str | None, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[Suppression]:
    """Newest first, one more than `limit` if there are more. `address`: of this one alone."""
    query = select(Suppression).order_by(Suppression.created_at.desc(), Suppression.id.desc()).limit(limit + 1)
    if address is not None:
        query = query.where(Suppression.address == address)
    if before is not None:
        query = query.where(tuple_(Suppression.created_at, Suppression.id) < tuple_(*before))
    return (await db.scalars(query)).all()


async def remove(db: AsyncSession, suppression_id: UUID) -> Suppression:
    """Returns what it was. Raises NotFound."""
    query = delete(Suppression).where(Suppression.id == suppression_id).returning(Suppression)
    removed: Suppression | None = await db.scalar(query)
    if removed is None:
        raise NotFound
    return removed


async def of(db: AsyncSession, channel: str, address: str, now: datetime) -> dict[str, str]:
    """The reasons for which this address gets nothing, by category."""
    query = select(Suppression.category, Suppression.reason).where(
        Suppression.channel == channel, Suppression.address == address, _HOLDING
    )
    return {row.category: row.reason for row in await db.execute(query, {"now": now})}


async def lift(db: AsyncSession, channel: str, address: str, categories: Collection[str]) -> None:
    """Takes back what the owner of the address has asked for, and nothing that anybody else has said."""
    if not categories:
        return
    query = delete(Suppression).where(
        Suppression.channel == channel,
        Suppression.address == address,
        Suppression.category.in_(categories),
        Suppression.reason == UNSUBSCRIBE,
    )
    await db.execute(query)


async def lift_of(db: AsyncSession, user_id: UUID, channel: str, categories: Collection[str]) -> None:
    """The same for a user, of whatever addresses their links have ended."""
    query = delete(Suppression).where(
        Suppression.user_id == user_id,
        Suppression.channel == channel,
        Suppression.category.in_(categories),
        Suppression.reason == UNSUBSCRIBE,
    )
    await db.execute(query)


async def among(db: AsyncSession, channel: str, addresses: Collection[str], now: datetime, *, others: Others) -> Found:
    """Which of these addresses, and for what, for `holds`. What holds for another address of the same person holds for
    this one too."""
    if not addresses:
        return frozenset()
    wanted: Sequence[str] = list({*addresses, *chain.from_iterable(others.values())})
    rows = await db.execute(_AMONG, {"channel": channel, "addresses": wanted, "now": now})
    found = frozenset((address, category) for address, category in rows)
    return found.union(
        (address, category) for address, names in others.items() for name, category in found if name in names
    )


def holds(found: Found, address: str, category: str) -> bool:
    return (address, ALL) in found or (address, category) in found
