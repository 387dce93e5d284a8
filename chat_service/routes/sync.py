"""What changed while a client was away."""

from typing import Annotated

from fastapi import APIRouter, Query

from chat_service.deps import Context
from chat_service.domain import sync
from chat_service.schemas.sync import Changes, Since
from libs.auth import CurrentUser

router = APIRouter(prefix="/api/v1/conversations", tags=["conversations"])


@router.get("/changes")
async def list_changes(
    me: CurrentUser,
    context: Context,
    token: Annotated[str | None, Query(max_length=512, description="Of the last answer.")] = None,
) -> Changes:
    """One's conversations that changed since the last answer, all of them without a `token`, newest activity first."""
    return Changes.model_validate(await sync.changes(context, me.user_id, sync.parse(None, token)))


@router.post("/changes")
async def compare_changes(body: Since, me: CurrentUser, context: Context) -> Changes:
    """The same by positions: what is not where the client believes it to be, and what is not the client's any more."""
    return Changes.model_validate(await sync.changes(context, me.user_id, sync.parse(body.since, body.token)))
