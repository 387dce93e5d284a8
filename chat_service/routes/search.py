"""Finding messages."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from chat_service.deps import Context
from chat_service.domain import search
from chat_service.schemas.messages import Message
from chat_service.schemas.search import Filters
from libs.auth import CurrentUser
from libs.deps import Db
from libs.paging import Page, PageRequest, keyset

router = APIRouter(prefix="/api/v1/search", tags=["messages"])
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@router.get("")
async def search_messages(
    me: CurrentUser,
    db: Db,
    context: Context,
    *,
    filters: Annotated[Filters, Query()],
    paging: Annotated[PageRequest, keyset(datetime, UUID)],
) -> Page[Message]:
    """One's messages with all of the words, newest first. "Words in quotes" must stand like that.

    Words are whole ones, without regard to case and accents. Of Chinese, Japanese and Korean one character is enough.
    """
    wanted = search.Wanted(
        words=filters.q,
        conversation_id=filters.in_,
        sender_id=filters.from_,
        has=filters.has,
        before=filters.before,
        after=filters.after,
    )
    found = await search.find(context, db, me.user_id, wanted, limit=paging.limit + 1, edge=paging.key)
    rows = [Message.model_validate(row) for row in found]
    return paging.page(rows, lambda m: (m.created_at, m.id))
