"""Profiles."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Response

from auth_service.domain import users
from auth_service.schemas.users import Me, User, UserChange
from libs.auth import CurrentUser
from libs.deps import Db, Now

router = APIRouter(prefix="/api/v1/users", tags=["users"])


@router.get("/me")
async def read_me(me: CurrentUser, db: Db, response: Response) -> Me:
    """One's own account. The `ETag` names its version."""
    user = await users.myself(db, me.user_id)
    response.headers["ETag"] = users.etag(user)
    return Me.model_validate(user)


@router.patch("/me", responses={409: {"description": "The username is taken."}, 412: {"description": "It changed."}})
async def change_me(
    *,
    body: UserChange,
    me: CurrentUser,
    db: Db,
    clock: Now,
    response: Response,
    if_match: Annotated[str | None, Header(max_length=1000, description="The `ETag` that was read.")] = None,
) -> Me:
    """Changes what is sent and nothing else. With `If-Match`, only if nobody has changed it since it was read."""
    changes = body.model_dump(exclude_unset=True)
    user = await users.change(db, me.user_id, changes, if_match=if_match, now=clock.now())
    response.headers["ETag"] = users.etag(user)
    return Me.model_validate(user)


@router.get("/{user_id}")
async def read_user(user_id: UUID, _me: CurrentUser, db: Db) -> User:
    """Another person's public profile."""
    return User.model_validate(await users.visible(db, user_id)).model_copy(update={"email": None})
