"""Who is here, and not being seen."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from chat_service.deps import Context
from chat_service.domain import changes, invisible, watching
from chat_service.schemas.presence import Invisible, Seen, SeenList
from libs.auth import CurrentUser
from libs.deps import Db, Now

router = APIRouter(prefix="/api/v1/presence", tags=["presence"])
_AT_ONCE = 100


@router.get("")
async def list_presence(
    user_id: Annotated[list[UUID], Query(min_length=1, max_length=_AT_ONCE)], me: CurrentUser, context: Context
) -> SeenList:
    """Whether users are here, as far as the caller may know. Over a socket `watch` tells of every change as well."""
    rows = await watching.look(context.lanes, me.user_id, list(dict.fromkeys(user_id)))
    return SeenList(results=[Seen.model_validate(row) for row in rows])


@router.get("/invisible")
async def read_invisible(me: CurrentUser, db: Db) -> Invisible:
    """Whether the caller is invisible, and since when."""
    return Invisible(since=await invisible.since(db, me.user_id))


@router.put("/invisible", status_code=204)
async def become_invisible(me: CurrentUser, db: Db, clock: Now, context: Context) -> None:
    """From now on the caller is shown as offline to everybody, last seen at this moment."""
    await invisible.hide(db, me.user_id, clock.now())
    changes.after_commit(db, lambda: context.presence.look(me.user_id))


@router.delete("/invisible", status_code=204)
async def become_visible(me: CurrentUser, db: Db, context: Context) -> None:
    """The caller is shown again, to those who may see it."""
    await invisible.show(db, me.user_id)
    changes.after_commit(db, lambda: context.presence.look(me.user_id))
