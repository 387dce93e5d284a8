"""Conversations that anybody may find and join."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from chat_service.deps import Context, limited
from chat_service.domain import conversations, joining
from chat_service.schemas.conversations import Conversation, Public
from chat_service.schemas.fields import Name
from libs.auth import CurrentUser
from libs.deps import Db, Now
from libs.paging import Page, PageRequest, keyset

router = APIRouter(prefix="/api/v1/conversations", tags=["conversations"])


@router.get("/public")
async def list_public_conversations(
    _me: CurrentUser,
    db: Db,
    paging: Annotated[PageRequest, keyset(int)],
    search: Annotated[Name, Query(description="How the name begins.")] = "",
) -> Page[Public]:
    """Groups and channels that anybody may join, newest first."""
    rows = await joining.listed(db, prefix=search, limit=paging.limit + 1, before=paging.last)
    page = paging.page(rows, lambda row: (row.number,))
    return Page[Public](results=[Public.model_validate(row) for row in page.results], next=page.next)


@router.post(
    "/{conversation_id}/join",
    dependencies=[limited("join")],
    responses={409: {"description": "It has as many members as it may have."}},
)
async def join_conversation(
    conversation_id: UUID, me: CurrentUser, db: Db, clock: Now, *, context: Context
) -> Conversation:
    """Joins a conversation that is not private; who is in already stays. `DELETE .../members/{user_id}` leaves."""
    most = context.conversation_members
    await joining.join(db, context.hub, me.user_id, conversation_id, most=most, now=clock.now())
    return Conversation.model_validate(await conversations.read(db, me.user_id, conversation_id))
