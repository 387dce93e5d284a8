from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime

from libs import audits
from libs.deps import Db, Now
from libs.idempotency import OnceOnly
from libs.paging import Page, PageRequest, keyset
from notify_service.deps import ADMIN, MaySend, Outside
from notify_service.domain import dead_letters
from notify_service.domain.dead_letters import MOST, Wanted
from notify_service.schemas.dead_letters import DeadLetter, Reason, Refused, Replay, Replayed
from notify_service.schemas.deliveries import Attempt, OneDelivery, SentDelivery
from notify_service.schemas.fields import AccountName, Category, ChannelName

router = APIRouter(prefix="/api/v1/dead-letters", tags=["deliveries"])
Paging = Annotated[PageRequest, keyset(datetime, UUID)]


async def _wanted(
    me: MaySend,
    *,
    channel: ChannelName | None = None,
    account: AccountName | None = None,
    category: Category | None = None,
    reason: Annotated[Reason | None, Query(description="A `reason`, or a provider's `error_code`.")] = None,
    since: AwareDatetime | None = None,
    unknown: Annotated[bool, Query(description="Also what may have arrived.")] = False,
) -> Wanted:
    return Wanted(
        owner=_owner(me),
        channel=channel,
        account=account,
        category=category,
        reason=reason,
        since=since,
        include_unknown=unknown,
    )


@router.get("", response_model=Page[DeadLetter])
async def list_dead_letters(db: Db, wanted: Annotated[Wanted, Depends(_wanted)], paging: Paging) -> Page[Any]:
    """Messages of yours that were given up, the last one first; administrators see those of everybody."""
    rows = await dead_letters.page(db, wanted, before=paging.key, limit=paging.limit)
    return paging.page(rows, lambda row: (row.updated_at, row.id))


@router.get("/{delivery_id:uuid}")
async def read_dead_letter(delivery_id: UUID, db: Db, me: MaySend) -> OneDelivery:
    """One of them, with each attempt."""
    found, attempts = await dead_letters.one(db, _owner(me), delivery_id)
    shown = SentDelivery.model_validate(found).model_dump()
    return OneDelivery(**shown, log=[Attempt.model_validate(each) for each in attempts])


@router.post("/replay")
async def replay_dead_letters(
    body: Replay, db: Db, *, me: MaySend, clock: Now, once: OnceOnly, outside: Outside
) -> Replayed:
    """Sends them again, ten thousand at a time, those given up first before others. Each begins its attempts anew and
    keeps the record of those it had. What waits already is left as it is."""
    given = body.filter.model_dump() if body.filter else {}
    wanted = Wanted(owner=_owner(me), include_unknown=body.include_unknown, **given)

    async def make() -> Replayed:
        done = await dead_letters.replay(db, wanted, body.ids)
        if done.ids:
            count = len(done.ids)
            await audits.tell(
                db, "dead_letters.replayed", me.user_id, now=clock.now(), count=count, unknown=body.include_unknown
            )
            outside.signals.wake(db)
        refused = [Refused.model_validate({"id": each, "reason": reason}) for each, reason in done.refused]
        return Replayed(replayed=len(done.ids), refused=refused, more=body.ids is None and len(done.ids) == MOST)

    return await once(body, make, Replayed)


def _owner(me: MaySend) -> str | None:
    return None if ADMIN in me.roles else str(me.user_id)
