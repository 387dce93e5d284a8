"""Reactions to messages."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from chat_service.deps import Context
from chat_service.domain import messages, reactions
from chat_service.schemas.reactions import Count, Reaction
from libs.auth import CurrentUser
from libs.deps import Db, Now
from libs.paging import Page, PageRequest, keyset
from libs.shapes import Text

router = APIRouter(prefix="/api/v1/messages/{message_id}/reactions", tags=["messages"])


@router.put(
    "/{emoji}",
    responses={
        403: {"description": "One's role may not react, or the conversation takes nothing from the caller."},
        409: {"description": "The message is deleted, or has 20 different reactions (`too_many_reactions`)."},
    },
)
async def react(message_id: UUID, emoji: Text, me: CurrentUser, context: Context, *, clock: Now) -> Count:
    """Reacts with an emoji, or with the name of one as `:tada:`. Doing it twice is as doing it once."""
    wanted = reactions.Reaction(message_id, emoji, on=True)
    return Count.model_validate(await reactions.react(context, me.user_id, wanted, now=clock.now()))


@router.delete("/{emoji}", responses={409: {"description": "The message is deleted."}})
async def unreact(message_id: UUID, emoji: Text, me: CurrentUser, context: Context, *, clock: Now) -> Count:
    """Takes one's reaction back."""
    wanted = reactions.Reaction(message_id, emoji, on=False)
    return Count.model_validate(await reactions.react(context, me.user_id, wanted, now=clock.now()))


@router.get("")
async def list_reactions(
    message_id: UUID,
    me: CurrentUser,
    db: Db,
    context: Context,
    *,
    paging: Annotated[PageRequest, keyset(UUID, str)],
    emoji: Annotated[Text | None, Query(max_length=64, description="Only these.")] = None,
) -> Page[Reaction]:
    """Who has reacted with what."""
    await messages.read(db, me.user_id, message_id)
    rows = await reactions.listed(
        context, me.user_id, message_id, emoji=emoji, after=paging.key, limit=paging.limit + 1
    )
    page = paging.page(rows, lambda row: (row["user"]["id"], row["emoji"]))
    return Page[Reaction](results=[Reaction.model_validate(row) for row in page.results], next=page.next)
