"""Messages of all conversations in one list."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from chat_service.deps import Context
from chat_service.domain import messages, overview
from chat_service.schemas.overview import MessageFilters, SeenMessage
from libs.auth import CurrentUser
from libs.deps import Db
from libs.paging import CountedPage, Page, PageRequest, keyset

router = APIRouter(prefix="/api/v1/messages", tags=["messages"])


@router.get("")
async def list_all_messages(
    me: CurrentUser,
    context: Context,
    *,
    paging: Annotated[PageRequest, keyset(UUID, both_ways=True)],
    given: Annotated[MessageFilters, Query()],
) -> CountedPage[SeenMessage] | Page[SeenMessage]:
    """Messages of one's own conversations, newest first, filtered."""
    filters = overview.Filters(
        sender=given.sender,
        message_type=given.message_type,
        is_important=given.is_important,
        is_read=given.is_read,
        since=given.created_at__gte,
        until=given.created_at__lte,
        on=given.created_at__date,
        conversation=given.conversation,
        conversation_type=given.conversation__conversation_type,
    )
    part = overview.Part(paging.limit + 1, paging.last, paging.backward)
    rows = await overview.page(context, me.user_id, filters, part)
    page = paging.page_both_ways(rows, lambda row: (row["id"],))
    shown = {
        "results": [SeenMessage.model_validate(row) for row in page.results],
        "next": page.next,
        "previous": page.previous,
    }
    if given.count:
        return CountedPage[SeenMessage](**shown, count=await overview.count(context, me.user_id, filters))
    return Page[SeenMessage](**shown)


@router.get("/{message_id}")
async def read_message(message_id: UUID, me: CurrentUser, db: Db, context: Context) -> SeenMessage:
    """One message of one's own conversations, and what it is to the caller."""
    found = await messages.read(db, me.user_id, message_id)
    return SeenMessage.model_validate(await overview.one_seen_by(context, me.user_id, found))
