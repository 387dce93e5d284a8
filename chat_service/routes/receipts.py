"""What was read, what arrived, and what is left to read."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter

from chat_service.deps import Context
from chat_service.domain import receipts, unread
from chat_service.schemas.people import Person
from chat_service.schemas.receipts import Delivered, MessageReceipts, Read, Unread, UnreadTotal, Watermark
from libs.auth import CurrentUser
from libs.paging import PageRequest, keyset

router = APIRouter(prefix="/api/v1", tags=["receipts"])


@router.get("/conversations/unread")
async def count_unread(me: CurrentUser, context: Context) -> UnreadTotal:
    """How much is unread over all conversations. Muted ones stay out of the totals, but not out of `mentions`."""
    return UnreadTotal.model_validate(await unread.total(context.lanes, me.user_id, context.clock.now()))


@router.post("/conversations/{conversation_id}/read")
async def mark_read(conversation_id: UUID, body: Read, me: CurrentUser, context: Context) -> Watermark:
    """Says how far the caller has read. The mark never moves back, nor beyond the last message."""
    mark = await receipts.advance(context, me.user_id, conversation_id, seq=body.seq, private=body.private)
    return Watermark.model_validate(mark)


@router.post("/conversations/{conversation_id}/unread")
async def mark_unread(conversation_id: UUID, body: Unread, me: CurrentUser, context: Context) -> Watermark:
    """Makes everything from `seq` on unread again, on all devices of the caller. Nobody else learns of it."""
    return Watermark.model_validate(await receipts.mark_unread(context, me.user_id, conversation_id, seq=body.seq))


@router.post("/conversations/{conversation_id}/delivered", status_code=204)
async def mark_delivered(conversation_id: UUID, body: Delivered, me: CurrentUser, context: Context) -> None:
    """Says how far messages have reached a device of the caller."""
    await receipts.deliver(context, me.user_id, conversation_id, seq=body.seq)


@router.get("/messages/{message_id}/receipts")
async def list_receipts(
    message_id: UUID, me: CurrentUser, context: Context, paging: Annotated[PageRequest, keyset(UUID)]
) -> MessageReceipts:
    """Who has read a message, of those who were members when it was sent; in conversations of any size."""
    found = await receipts.of_message(context, me.user_id, message_id, limit=paging.limit + 1, after=paging.last)
    page = paging.page(found["readers"], lambda person: (person["id"],))
    readers = [Person.model_validate(person) for person in page.results]
    return MessageReceipts.model_validate({**found, "readers": readers, "next": page.next})
