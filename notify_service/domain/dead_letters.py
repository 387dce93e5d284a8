"""Messages that were given up, and their second chance.

A dead letter is a row like all others, in the state that it ended in; sent again it is the same delivery, with the
record of every attempt so far. What may have arrived (`unknown`) counts only where somebody says so: it may arrive
twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Uuid, and_, any_, case, exists, func, literal, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from libs.errors import NotFound
from notify_service.domain import campaign_progress
from notify_service.domain.channels.webhook_events import EVENT
from notify_service.domain.snapshots import MISSING
from notify_service.domain.wording import WRONG
from notify_service.models import Account, Delivery, DeliveryAttempt

MOST = 10_000
_MOST_NAMED = 1000
# Literal, so that every plan of theirs can use the index that has these rows alone.
_DEAD = text("delivery.state IN ('dead', 'failed')")
_DEAD_OR_UNKNOWN = text("delivery.state IN ('dead', 'failed', 'unknown')")
_AGAIN = {
    "state": "queued",
    "attempts": 0,
    # Who still holds the last claim of a row that is `unknown` must not settle it any more.
    "fence": Delivery.fence + 1,
    "next_at": func.now(),
    "reason": None,
    "error_class": None,
    "error_code": None,
    "sent_at": None,
    "updated_at": func.now(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which letters: everything that is given holds for them."""

    owner: str | None
    """Whose; None: anybody's."""
    channel: str | None = None
    account: str | None = None
    category: str | None = None
    reason: str | None = None
    """As the delivery has it, or the provider's code."""
    since: datetime | None = None
    """When it was given up, at the earliest."""
    include_unknown: bool = False


@dataclass(frozen=True, slots=True)
class Replayed:
    """Which wait again, and why each of the others does not."""

    ids: Sequence[UUID]
    refused: Sequence[tuple[UUID, str]]


async def page(
    db: AsyncSession, wanted: Wanted, *, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[Delivery]:
    """Given up last comes first; one more than `limit` if there are more."""
    query = select(Delivery).where(*_matching(wanted))
    query = query.order_by(Delivery.updated_at.desc(), Delivery.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(tuple_(Delivery.updated_at, Delivery.id) < tuple_(*before))
    return (await db.scalars(query)).all()


async def one(db: AsyncSession, owner: str | None, delivery_id: UUID) -> tuple[Delivery, Sequence[DeliveryAttempt]]:
    """With its attempts. Raises NotFound for what is somebody else's, or not dead."""
    wanted = Wanted(owner=owner, include_unknown=True)
    found = await db.scalar(select(Delivery).where(Delivery.id == delivery_id, *_matching(wanted)))
    if found is None:
        raise NotFound
    query = select(DeliveryAttempt).where(DeliveryAttempt.delivery_id == delivery_id).order_by(DeliveryAttempt.fence)
    return found, (await db.scalars(query)).all()


async def replay(db: AsyncSession, wanted: Wanted, ids: Sequence[UUID] | None = None) -> Replayed:
    """Sends those with these ids again, or else the `MOST` given up first of all that are wanted. What waits already
    stays as it is, so that repeating this has no second effect."""
    if ids is not None:
        return await _again(db, wanted, ids)
    refusal = _refusal(wanted)
    letters = select(Delivery.id).where(*_matching(wanted)).order_by(Delivery.updated_at, Delivery.id)
    able = (await db.scalars(letters.where(refusal.is_(None)).limit(MOST))).all()
    unable = letters.add_columns(refusal).where(refusal.is_not(None)).limit(_MOST_NAMED)
    refused = [(row[0], row[1]) for row in await db.execute(unable)]
    replayed = await _again(db, wanted, able)
    return Replayed(replayed.ids, refused)


async def _again(db: AsyncSession, wanted: Wanted, ids: Sequence[UUID]) -> Replayed:
    chosen = Delivery.id == any_(literal(list(ids), ARRAY(Uuid())))
    mine = [chosen] if wanted.owner is None else [chosen, Delivery.owner == wanted.owner]
    query = select(Delivery.id, _refusal(wanted)).where(*mine).order_by(Delivery.id)
    refusals = {row[0]: row[1] for row in await db.execute(query.with_for_update(of=Delivery))}
    able = [each for each, refusal in refusals.items() if refusal is None]
    statement = update(Delivery).where(Delivery.id == any_(literal(able, ARRAY(Uuid())))).values(_AGAIN)
    await db.execute(statement.execution_options(synchronize_session=False))
    await campaign_progress.touch(db, able)
    unable = ((each, refusals.get(each, "not_found")) for each in dict.fromkeys(ids))
    return Replayed(able, [(each, refusal) for each, refusal in unable if refusal is not None])


def _matching(wanted: Wanted) -> list[ColumnElement[bool]]:
    given = {
        Delivery.owner: wanted.owner,
        Delivery.channel: wanted.channel,
        Delivery.account: wanted.account,
        Delivery.category: wanted.category,
    }
    found = [column == value for column, value in given.items() if value is not None]
    if wanted.reason is not None:
        found.append((Delivery.reason == wanted.reason) | (Delivery.error_code == wanted.reason))
    if wanted.since is not None:
        found.append(Delivery.updated_at >= wanted.since)
    return [and_(_DEAD_OR_UNKNOWN if wanted.include_unknown else _DEAD, *found)]


def _refusal(wanted: Wanted) -> ColumnElement[str | None]:
    """Why a row cannot be sent again, or null."""
    able = exists().where(Account.name == Delivery.account, Account.enabled)
    conditions: list[tuple[ColumnElement[bool], str]] = [
        (Delivery.state.not_in(("dead", "failed", "unknown")), "not_dead"),
        # A code is erased when its message ends. What else is sent at least once says what happened, and has none.
        (
            and_(Delivery.at_least_once, Delivery.secret.is_(None), Delivery.template.is_distinct_from(EVENT)),
            "secret_erased",
        ),
        (Delivery.expires_at <= func.now(), "expired"),
        (Delivery.reason == MISSING, MISSING),
        (Delivery.reason == WRONG, WRONG),
        (~able, "no_account"),
    ]
    if not wanted.include_unknown:
        conditions.insert(1, (Delivery.state == "unknown", "may_have_arrived"))
    return case(*conditions, else_=None)
