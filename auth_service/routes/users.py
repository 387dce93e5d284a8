"""Profiles."""

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Response

from auth_service.deps import Device, Looking, Tools
from auth_service.domain import people, users
from auth_service.domain.users import Editor
from auth_service.domain.visibility import Viewer
from auth_service.schemas.users import Me, User, UserChange
from libs.auth import CurrentUser
from libs.deps import Db

router = APIRouter(prefix="/api/v1/users", tags=["users"])
Refusals = dict[int | str, dict[str, Any]]
CHANGE_REFUSALS: Refusals = {409: {"description": "The username is taken."}, 412: {"description": "It changed."}}
IfMatch = Annotated[str | None, Header(max_length=1000, description="The `ETag` that was read.")]


@dataclass(frozen=True, slots=True)
class _Edit:
    """Who edits, and which version they have read."""

    viewer: Viewer
    editor: Editor
    if_match: str | None


async def _edit(caller: CurrentUser, viewer: Looking, device: Device, if_match: IfMatch = None) -> _Edit:
    return _Edit(viewer, Editor(caller.user_id, caller.session_id, device), if_match)


Edit = Annotated[_Edit, Depends(_edit)]


@router.get("/me")
async def read_me(me: CurrentUser, db: Db, response: Response) -> Me:
    """One's own account. The `ETag` names its version."""
    user = await users.myself(db, me.user_id)
    response.headers["ETag"] = users.etag(user)
    return Me.model_validate(await people.own(db, user))


@router.patch("/me", responses=CHANGE_REFUSALS)
async def change_me(*, body: UserChange, edit: Edit, db: Db, kit: Tools, response: Response) -> Me:
    """Changes what is sent and nothing else. With `If-Match`, only if nobody has changed it since it was read.

    Fields that cannot be changed here may be sent back as they were read, so that a client can send the whole account.
    """
    return await _changed(edit.editor.id, body, edit, db=db, kit=kit, response=response)


@router.get("/{user_id}")
async def read_user(user_id: UUID, me: Looking, db: Db) -> User:
    """A person as the caller may see them: what they hide from the caller is null."""
    return User.model_validate(await people.read(db, me, user_id))


@router.patch("/{user_id}", responses={403: {"description": "This is somebody else."}, **CHANGE_REFUSALS})
async def change_user(*, user_id: UUID, body: UserChange, edit: Edit, db: Db, kit: Tools, response: Response) -> Me:
    """The same as for oneself. Staff may change the profile of others who are not staff; administrators any."""
    return await _changed(user_id, body, edit, db=db, kit=kit, response=response)


async def _changed(user_id: UUID, body: UserChange, edit: _Edit, *, db: Db, kit: Tools, response: Response) -> Me:
    user = await users.addressed(db, edit.viewer, user_id, lock=True)
    users.require_current(user, edit.if_match)
    body.require_nothing_else(Me.model_validate(await people.own(db, user)))
    await users.change(db, kit, user, body.changes(), by=edit.editor)
    response.headers["ETag"] = users.etag(user)
    return Me.model_validate(await people.own(db, user))
