"""Profiles."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Response

from auth_service.deps import Looking, Tools
from auth_service.domain import people, users
from auth_service.domain.visibility import Viewer
from auth_service.schemas.users import Me, User, UserChange
from libs.auth import CurrentUser
from libs.deps import Db

router = APIRouter(prefix="/api/v1/users", tags=["users"])
IfMatch = Annotated[str | None, Header(max_length=1000, description="The `ETag` that was read.")]
Refusals = dict[int | str, dict[str, Any]]
CHANGE_REFUSALS: Refusals = {409: {"description": "The username is taken."}, 412: {"description": "It changed."}}


@router.get("/me")
async def read_me(me: CurrentUser, db: Db, response: Response) -> Me:
    """One's own account. The `ETag` names its version."""
    user = await users.myself(db, me.user_id)
    response.headers["ETag"] = users.etag(user)
    return Me.model_validate(await people.own(db, user))


@router.patch("/me", responses=CHANGE_REFUSALS)
async def change_me(
    *, body: UserChange, me: Looking, db: Db, kit: Tools, response: Response, if_match: IfMatch = None
) -> Me:
    """Changes what is sent and nothing else. With `If-Match`, only if nobody has changed it since it was read.

    Fields that cannot be changed here may be sent back as they were read, so that a client can send the whole account.
    """
    return await _changed(me.user_id, body, me, db=db, kit=kit, response=response, if_match=if_match)


@router.get("/{user_id}")
async def read_user(user_id: UUID, me: Looking, db: Db) -> User:
    """A person as the caller may see them: what they hide from the caller is null."""
    return User.model_validate(await people.read(db, me, user_id))


@router.patch("/{user_id}", responses={403: {"description": "This is somebody else."}, **CHANGE_REFUSALS})
async def change_user(
    *, user_id: UUID, body: UserChange, me: Looking, db: Db, kit: Tools, response: Response, if_match: IfMatch = None
) -> Me:
    """The same as for oneself. Staff may change the profile of others who are not staff; administrators any."""
    return await _changed(user_id, body, me, db=db, kit=kit, response=response, if_match=if_match)


async def _changed(
    user_id: UUID, body: UserChange, me: Viewer, *, db: Db, kit: Tools, response: Response, if_match: str | None
) -> Me:
    user = await users.addressed(db, me, user_id, lock=True)
    users.require_current(user, if_match)
    body.require_nothing_else(Me.model_validate(await people.own(db, user)))
    await users.change(db, kit, user, body.changes())
    response.headers["ETag"] = users.etag(user)
    return Me.model_validate(await people.own(db, user))
