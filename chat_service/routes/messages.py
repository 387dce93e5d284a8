"""Messages, and how far they were read."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from chat_service.deps import Context
from chat_service.domain import conversations, messages, receipts
from chat_service.schemas import Edges, Message, MessageCreate, Read, Watermark
from libs.auth import CurrentUser
from libs.deps import Db
from libs.paging import Page, PageRequest, keyset

router = APIRouter(prefix="/api/v1", tags=["messages"])


@router.post("/conversations/{conversation_id}/messages", status_code=201)
async def send_message(conversation_id: UUID, body: MessageCreate, me: CurrentUser, context: Context) -> Message:
    """Stores a message and sends it to everybody's sockets. It is stored for good when the answer comes."""
    draft = messages.Text(body.content, body.client_msg_id, body.reply_to)
    return Message.model_validate(await messages.send(context, me.user_id, conversation_id, draft))


@router.get("/conversations/{conversation_id}/messages")
async def list_messages(
    conversation_id: UUID,
    me: CurrentUser,
    db: Db,
    *,
    paging: Annotated[PageRequest, keyset(int)],
    edges: Annotated[Edges, Query()],
) -> Page[Message]:
    """Messages, newest first: the newest, or those before, after or on both sides of a `seq`.

    `next` leads to older ones, `previous` to newer ones. At most one of `cursor`, `before`, `after` and `around`.
    """
    where = messages.Around.of(paging.after, **edges.model_dump())
    await conversations.visible_to(db, me.user_id, conversation_id)
    found = await messages.page(db, conversation_id, where, paging.limit)
    results = [Message.model_validate(row) for row in found.rows]
    path = f"{paging.path}?limit={paging.limit}"
    return Page[Message](
        results=results,
        next=f"{path}&before={results[-1].seq}" if found.older else None,
        previous=f"{path}&after={results[0].seq}" if found.newer else None,
    )


@router.get("/messages/{message_id}")
async def read_message(message_id: UUID, me: CurrentUser, db: Db) -> Message:
    """One message of one's own conversations."""
    return Message.model_validate(await messages.read(db, me.user_id, message_id))


@router.post("/conversations/{conversation_id}/read")
async def mark_read(conversation_id: UUID, body: Read, me: CurrentUser, context: Context) -> Watermark:
    """Says how far the caller has read. The mark never moves back, nor beyond the last message."""
    mark = await receipts.advance(context.lanes, context.hub, me.user_id, conversation_id, seq=body.seq)
    return Watermark.model_validate(mark)
