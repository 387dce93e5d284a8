"""Changing and deleting messages that were sent."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query

from chat_service.deps import Context
from chat_service.domain import deletions, edits, overview, rights
from chat_service.domain.targets import Actor
from chat_service.schemas.edits import MessageChange, Revision
from chat_service.schemas.overview import SeenMessage
from libs.auth import CurrentUser
from libs.deps import Db, Now
from libs.paging import Page, PageRequest, keyset

router = APIRouter(prefix="/api/v1/messages", tags=["messages"])
_NEWEST = (1 << 31) - 1


@router.patch(
    "/{message_id}",
    responses={
        403: {"description": "Not the sender (`permission_denied`), or too late (`edit_window_expired`)."},
        409: {"description": "`version` is not the newest (`version_conflict`, with it), or the message is deleted."},
    },
)
async def edit_message(
    message_id: UUID, body: MessageChange, me: CurrentUser, db: Db, *, clock: Now, context: Context
) -> SeenMessage:
    """Changes what one has said: within five minutes, as owner or admin of the conversation for ever.

    Everybody sees that it was edited, and may read what it said before. Whom the message mentions stays as it was sent.
    """
    edit = edits.Edit(body.changes(), body.version)
    edited = await edits.edit(context, db, me.user_id, message_id, edit=edit, now=clock.now())
    return SeenMessage.model_validate(await overview.one_seen_by(context, me.user_id, edited))


@router.delete(
    "/{message_id}",
    status_code=204,
    responses={403: {"description": "Not one's own (`permission_denied`), or too late (`delete_window_expired`)."}},
)
async def delete_message(
    message_id: UUID,
    me: CurrentUser,
    db: Db,
    *,
    clock: Now,
    context: Context,
    target: Annotated[
        Literal["everyone", "me"], Query(alias="for", description="`me`: hides it on one's own devices alone.")
    ] = "everyone",
    hard: Annotated[
        bool, Query(description="For staff: not even the copies stay that reports hold, of a deleted message either.")
    ] = False,
) -> None:
    """Deletes a message for everybody: words, files, reactions, pins and earlier versions are gone, its number stays.

    For the sender within an hour; for moderators, admins, the owner and whoever made the group or channel, and for
    staff, at any time.
    """
    if target == "me":
        await deletions.hide(db, context.hub, me.user_id, message_id, now=clock.now())
        return
    actor = Actor(me.user_id, rights.is_staff(me.roles))
    await deletions.delete(context, db, actor, message_id, hard=hard, now=clock.now())


@router.get("/{message_id}/revisions")
async def list_revisions(
    message_id: UUID, me: CurrentUser, db: Db, *, paging: Annotated[PageRequest, keyset(int)]
) -> Page[Revision]:
    """What a message says and said before, newest first; of a deleted one nothing."""
    below = _NEWEST if paging.last is None else paging.last
    rows = await edits.revisions(db, me.user_id, message_id, below=below, limit=paging.limit + 1)
    page = paging.page(rows, lambda row: (row["version"],))
    return Page[Revision](results=[Revision.model_validate(row) for row in page.results], next=page.next)
