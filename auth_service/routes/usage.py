"""How often the API was called: by oneself, and, for staff, by somebody."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from auth_service.deps import Permitted
from auth_service.domain import usage, users
from auth_service.domain.roles import Staff
from auth_service.domain.usage import Wanted
from auth_service.schemas.fields import Instant
from auth_service.schemas.usage import UsageShown
from libs.auth import CurrentUser
from libs.deps import Db
from libs.errors import FieldError, Invalid, NotFound
from libs.paging import Page, PageRequest, keyset
from libs.shapes import Text

router = APIRouter(tags=["usage"])
Paging = Annotated[PageRequest, keyset(datetime, str)]


async def _wanted(
    since: Annotated[
        Instant | None,
        Query(alias="from", description="Hours that began then or later.", examples=["2026-11-22T00:00Z"]),
    ] = None,
    until: Annotated[
        Instant | None, Query(alias="to", description="Hours that began before.", examples=["2026-11-23T00:00Z"])
    ] = None,
    route: Annotated[
        Text | None, Query(max_length=200, description="Of this route only.", examples=["/api/v1/messages"])
    ] = None,
) -> Wanted:
    if since is not None and until is not None and until <= since:
        raise Invalid(errors=[FieldError("to", "This must be later than `from`.")])
    return Wanted(since, until, route)


Filters = Annotated[Wanted, Depends(_wanted)]


@router.get("/api/v1/users/me/usage")
async def read_own_usage(me: CurrentUser, db: Db, paging: Paging, wanted: Filters) -> Page[UsageShown]:
    """One's own calls by hour and route, the newest hour first. A minute late, and kept for 90 days."""
    return await _page(db, me.user_id, paging, wanted)


@router.get("/api/v1/admin/auth/users/{user_id}/usage")
async def read_account_usage(
    *,
    user_id: UUID,
    _staff: Annotated[Staff, Depends(Permitted("users.read"))],
    db: Db,
    paging: Paging,
    wanted: Filters,
) -> Page[UsageShown]:
    """The calls of an account by hour and route, the newest hour first."""
    if await users.find(db, user_id) is None:
        raise NotFound
    return await _page(db, user_id, paging, wanted)


async def _page(db: Db, user_id: UUID, paging: PageRequest, wanted: Wanted) -> Page[UsageShown]:
    rows = await usage.of_user(db, user_id, wanted, after=paging.key, limit=paging.limit)
    shown = [UsageShown.of(row) for row in rows]
    return paging.page(shown, key=lambda row: (row.hour, row.route))
