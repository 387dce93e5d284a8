"""Messages that the caller has saved."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter

from chat_service.deps import Context
from chat_service.domain import saved
from chat_service.schemas.saved import Saved
from libs.auth import CurrentUser
from libs.deps import Db, Now
from libs.paging import Page, PageRequest, keyset

router = APIRouter(prefix="/api/v1/messages", tags=["messages"])


@router.get("/saved")
async def list_saved_messages(
    me: CurrentUser, context: Context, paging: Annotated[PageRequest, keyset(datetime, UUID)]
) -> Page[Saved]:
    """What one has saved and may still see, the last saved first."""
    rows = await saved.listed(context, me.user_id, before=paging.key, limit=paging.limit + 1)
    page = paging.page(rows, lambda row: (row["saved_at"], row["message"]["id"]))
    return Page[Saved](results=[Saved.model_validate(row) for row in page.results], next=page.next)


@router.put("/{message_id}/saved", status_code=204, responses={409: {"description": "The message is deleted."}})
async def save_message(message_id: UUID, me: CurrentUser, db: Db, *, clock: Now) -> None:
    """Saves a message, for oneself alone."""
    await saved.save(db, me.user_id, message_id, now=clock.now())


@router.delete("/{message_id}/saved", status_code=204)
async def unsave_message(message_id: UUID, me: CurrentUser, db: Db) -> None:
    """Takes it from what one has saved."""
    await saved.unsave(db, me.user_id, message_id)
