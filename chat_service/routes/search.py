"""Finding messages."""

from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from chat_service.deps import Context
from chat_service.domain import search
from chat_service.errors import invalid
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
    paging: Annotated[PageRequest, keyset(int, str)],
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
    found = await search.find(context, db, me.user_id, wanted, limit=paging.limit + 1, edge=_edge(paging))
    rows = [Message.model_validate(row) for row in found]
    return paging.page(rows, lambda m: (round((m.created_at - _EPOCH) / timedelta(microseconds=1)), str(m.id)))


def _edge(paging: PageRequest) -> tuple[datetime, UUID] | None:
    if not paging.after:
        return None
    try:
        return _EPOCH + timedelta(microseconds=int(paging.after[0])), UUID(str(paging.after[1]))
    except (ValueError, OverflowError):
        raise invalid("cursor", "This cursor is not valid.") from None
