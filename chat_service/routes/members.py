"""Members of conversations."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter

from chat_service.deps import AskAuth, Hub
from chat_service.domain import conversations, members
from chat_service.schemas import Conversation, Member, MembersAdd
from libs.auth import CurrentUser
from libs.deps import Db, Now
from libs.paging import Page, PageRequest, keyset

router = APIRouter(prefix="/api/v1/conversations/{conversation_id}/members", tags=["members"])
_REFUSED: dict[int | str, dict[str, Any]] = {
    403: {"description": "Not the owner or an admin."},
    409: {"description": "The members are fixed."},
}


@router.post("", responses=_REFUSED)
async def add_members(
    conversation_id: UUID, body: MembersAdd, me: CurrentUser, db: Db, *, clock: Now, hub: Hub, ask: AskAuth
) -> Conversation:
    """Lets users into a group; for the owner and admins. Who is in already stays as before."""
    await members.add(db, hub, me.user_id, conversation_id, user_ids=body.user_ids, ask=ask, now=clock.now())
    return Conversation.model_validate(await conversations.read(db, me.user_id, conversation_id))


@router.get("")
async def list_members(
    conversation_id: UUID, me: CurrentUser, db: Db, paging: Annotated[PageRequest, keyset(str)]
) -> Page[Member]:
    """Everybody in the conversation."""
    after = members.after(str(paging.after[0])) if paging.after else None
    rows = await members.listed(db, me.user_id, conversation_id, limit=paging.limit + 1, after=after)
    page = paging.page(rows, lambda row: (row["user"]["id"],))
    return Page[Member](results=[Member.model_validate(row) for row in page.results], next=page.next)


@router.delete("/{user_id}", status_code=204, responses=_REFUSED)
async def remove_member(conversation_id: UUID, user_id: UUID, me: CurrentUser, db: Db, *, clock: Now, hub: Hub) -> None:
    """Removes somebody, or leaves the conversation. It ends what that user receives at once."""
    await members.remove(db, hub, me.user_id, conversation_id, user_id=user_id, now=clock.now())
