"""Pinned messages of a conversation."""

from uuid import UUID

from fastapi import APIRouter

from chat_service.deps import Context
from chat_service.domain import conversations, pins
from chat_service.schemas.pins import Pin, PinCreate
from libs.auth import CurrentUser
from libs.deps import Db, Now
from libs.paging import Page

router = APIRouter(prefix="/api/v1/conversations/{conversation_id}/pins", tags=["messages"])


@router.put(
    "/{message_id}",
    status_code=204,
    responses={
        403: {"description": "One's role may not pin."},
        409: {"description": "The message is deleted, or there are 100 pins (`too_many_pins`)."},
    },
)
async def pin_message(
    conversation_id: UUID,
    message_id: UUID,
    me: CurrentUser,
    db: Db,
    *,
    clock: Now,
    context: Context,
    body: PinCreate | None = None,
) -> None:
    """Pins a message for everybody, for ever or until `expires_at`. Again changes until when."""
    until = body.until() if body else None
    await pins.pin(context, db, me.user_id, (conversation_id, message_id), until=until, now=clock.now())


@router.delete("/{message_id}", status_code=204, responses={403: {"description": "One's role may not pin."}})
async def unpin_message(
    conversation_id: UUID, message_id: UUID, me: CurrentUser, db: Db, *, clock: Now, context: Context
) -> None:
    """Unpins a message for everybody."""
    await pins.unpin(context, db, me.user_id, (conversation_id, message_id), now=clock.now())


@router.get("")
async def list_pins(conversation_id: UUID, me: CurrentUser, db: Db, context: Context, *, clock: Now) -> Page[Pin]:
    """All pinned messages, the last pinned first. There are at most 100."""
    await conversations.visible_to(db, me.user_id, conversation_id)
    rows = await pins.listed(context, me.user_id, conversation_id, now=clock.now())
    return Page[Pin](results=[Pin.model_validate(row) for row in rows])
