"""Members of conversations."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter

from chat_service.deps import AskAuth, Context, Hub, limited
from chat_service.domain import conversations, members
from chat_service.schemas.conversations import Conversation
from chat_service.schemas.members import Member, MembersAdd, RoleChange
from libs.auth import CurrentUser
from libs.deps import Db, Now
from libs.paging import Page, PageRequest, keyset

router = APIRouter(prefix="/api/v1/conversations/{conversation_id}/members", tags=["members"])
_REFUSED: dict[int | str, dict[str, Any]] = {
    403: {"description": "Not the owner or an admin."},
    409: {"description": "The members are fixed, too many, or without an owner."},
}


@router.post("", responses=_REFUSED, dependencies=[limited("add")])
async def add_members(
    conversation_id: UUID, body: MembersAdd, me: CurrentUser, db: Db, *, clock: Now, context: Context, ask: AskAuth
) -> Conversation:
    """Lets users into a group, with a role below one's own; for the owner and admins. Who is in already stays."""
    newcomers = members.Newcomers(body.user_ids, body.role, context.conversation_members)
    await members.add(db, context.hub, me.user_id, conversation_id, newcomers=newcomers, ask=ask, now=clock.now())
    return Conversation.model_validate(await conversations.read(db, me.user_id, conversation_id))


@router.get("")
async def list_members(
    conversation_id: UUID, me: CurrentUser, db: Db, paging: Annotated[PageRequest, keyset(UUID)]
) -> Page[Member]:
    """Everybody in the conversation."""
    rows = await members.listed(db, me.user_id, conversation_id, limit=paging.limit + 1, after=paging.last)
    page = paging.page(rows, lambda row: (row["user"]["id"],))
    return Page[Member](results=[Member.model_validate(row) for row in page.results], next=page.next)


@router.patch("/{user_id}", responses=_REFUSED)
async def change_member(
    conversation_id: UUID, user_id: UUID, body: RoleChange, *, me: CurrentUser, db: Db, clock: Now, hub: Hub
) -> Member:
    """Gives a member another role. Owner and admins give roles below their own to who stands below them; everybody may
    step down. The owner makes somebody else the owner, and is an admin from then on."""
    changed = await members.change_role(
        db, hub, me.user_id, conversation_id, user_id=user_id, role=body.role, now=clock.now()
    )
    return Member.model_validate(changed)


@router.delete("/{user_id}", status_code=204, responses=_REFUSED)
async def remove_member(conversation_id: UUID, user_id: UUID, me: CurrentUser, db: Db, *, clock: Now, hub: Hub) -> None:
    """Removes somebody, or leaves the conversation. It ends what that user receives at once."""
    await members.remove(db, hub, me.user_id, conversation_id, user_id=user_id, now=clock.now())
