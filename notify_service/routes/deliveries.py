from typing import Any
from uuid import UUID

from fastapi import APIRouter

from libs.auth import CurrentUser
from libs.deps import Db, Now
from libs.idempotency import OnceOnly
from libs.paging import Page
from notify_service.deps import MaySend, Outside, Paging
from notify_service.domain import deliveries, sending, sent
from notify_service.domain.reaching import To
from notify_service.domain.sending import Request, Step
from notify_service.schemas.deliveries import (
    Accepted,
    Attempt,
    Batch,
    BatchStanding,
    Cancelled,
    Delivery,
    DeliveryCreate,
    OneDelivery,
    SentDelivery,
    State,
)

router = APIRouter(prefix="/api/v1/deliveries", tags=["deliveries"])


@router.get("", response_model=Page[Delivery])
async def list_deliveries(db: Db, me: CurrentUser, paging: Paging) -> Page[Any]:
    """What was sent to you outside, or not, and why; newest first."""
    rows = await sent.page(db, deliveries.visible_to(me.user_id), before=paging.id, limit=paging.paging.limit)
    return paging.paging.page(rows, lambda row: (str(row.id),))


@router.post("", status_code=202)
async def create_deliveries(
    body: DeliveryCreate, db: Db, *, me: MaySend, clock: Now, once: OnceOnly, outside: Outside
) -> Batch:
    """Sends something to one recipient, or to ten thousand: all of them are accepted, or none. An answer means that it
    is stored; what becomes of each is in its delivery."""

    async def make() -> Batch:
        request = _request(str(me.user_id), body)
        # Without a key nothing else is to be true with it, and somebody waits for it.
        taken = await sending.accept(db, request, outside.means, clock.now(), alone=not once.asked)
        outside.signals.wake(db, *taken.senders)
        return Batch(
            id=taken.batch_id, account=taken.account, deliveries=list(map(Accepted.model_validate, taken.deliveries))
        )

    return await once(body, make, Batch)


@router.get("/batches/{batch_id:uuid}")
async def read_batch(batch_id: UUID, db: Db, me: MaySend) -> BatchStanding:
    """How many of its deliveries are in which state."""
    return await _standing(db, str(me.user_id), batch_id)


@router.get("/batches/{batch_id:uuid}/deliveries", response_model=Page[SentDelivery])
async def list_batch(batch_id: UUID, db: Db, *, me: MaySend, paging: Paging, state: State | None = None) -> Page[Any]:
    """Each of its deliveries, newest first; with `state` only those in it."""
    query = sent.of_batch(str(me.user_id), batch_id, state)
    rows = await sent.page(db, query, before=paging.id, limit=paging.paging.limit)
    return paging.paging.page(rows, lambda row: (str(row.id),))


@router.post("/batches/{batch_id:uuid}/cancel")
async def cancel_batch(batch_id: UUID, db: Db, me: MaySend) -> Cancelled:
    """Takes back what has not left."""
    return Cancelled(cancelled=await sent.cancel_batch(db, str(me.user_id), batch_id))


@router.post("/batches/{batch_id:uuid}/resume")
async def resume_batch(batch_id: UUID, db: Db, me: MaySend, outside: Outside) -> BatchStanding:
    """Lets it go on after its provider has refused its content, once you have put that right."""
    await sent.resume_batch(db, str(me.user_id), batch_id)
    outside.signals.wake(db)
    return await _standing(db, str(me.user_id), batch_id)


@router.get("/{delivery_id:uuid}")
async def read_delivery(delivery_id: UUID, db: Db, me: CurrentUser) -> OneDelivery:
    """One that was sent to you, or that you sent; in that case with each attempt."""
    found, attempts = await sent.one(db, me.user_id, delivery_id)
    shown = SentDelivery.model_validate(found).model_dump()
    return OneDelivery(**shown, log=[Attempt.model_validate(each) for each in attempts])


@router.post("/{delivery_id:uuid}/cancel", status_code=204)
async def cancel_delivery(delivery_id: UUID, db: Db, me: MaySend) -> None:
    """Takes it back, if it has not left; otherwise 409 `too_late`."""
    await sent.cancel(db, str(me.user_id), delivery_id)


async def _standing(db: Db, owner: str, batch_id: UUID) -> BatchStanding:
    found, states = await sent.batch(db, owner, batch_id)
    return BatchStanding(
        id=found.id,
        created_at=found.created_at,
        held=found.held,
        hold_reason=found.hold_reason,
        test_of=found.test_of,
        states=states,
    )


def _request(owner: str, body: DeliveryCreate) -> Request:
    return Request(
        owner=owner,
        channel=body.channel,
        account=body.account,
        to=[
            To(
                address=to.address,
                user_id=to.user,
                variables=to.variables,
                dedupe_key=to.dedupe_key,
                addresses=to.addresses,
            )
            for to in body.to
        ],
        content=body.content,
        category=body.category,
        priority=body.priority,
        send_at=body.send_at,
        expires_at=body.expires_at,
        steps=[Step(**step.model_dump(exclude={"content"}), content=step.content) for step in body.fallback],
    )
