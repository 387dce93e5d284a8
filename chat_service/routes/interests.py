"""Friend requests."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from chat_service.deps import Hub, Outside, limited
from chat_service.domain import interests
from chat_service.schemas.interests import Direction, Interest, InterestCreate, InterestStatus
from libs.auth import CurrentUser
from libs.deps import Db, Now
from libs.idempotency import OnceOnly
from libs.paging import Page, PageRequest, keyset

router = APIRouter(prefix="/api/v1/interests", tags=["contacts"])
_REFUSED: dict[int | str, dict[str, Any]] = {
    403: {"description": "Somebody else's to do."},
    409: {"description": "Not pending any more."},
}


@router.post(
    "",
    status_code=201,
    dependencies=[limited("ask")],
    responses={
        200: {"model": Interest, "description": "The other one had asked: accepted."},
        409: {"description": "A request is pending or accepted."},
        429: {"description": "50 requests within a day, or a decline within seven days."},
    },
)
async def create_interest(
    body: InterestCreate, me: CurrentUser, db: Db, clock: Now, *, once: OnceOnly, outside: Outside, response: Response
) -> Interest:
    """Asks somebody to become a contact. Where the other one has asked already, that request is accepted."""

    async def make() -> Interest:
        asked, is_new = await interests.ask(
            db, outside.hub, me.user_id, body.to_user, message=body.message, known=outside.ask, now=clock.now()
        )
        response.status_code = 201 if is_new else 200
        return Interest.model_validate(asked)

    return await once(body, make, Interest)


@router.get("")
async def list_interests(
    me: CurrentUser,
    db: Db,
    clock: Now,
    paging: Annotated[PageRequest, keyset(UUID)],
    *,
    direction: Direction = "all",
    status: Annotated[InterestStatus | None, Query()] = None,
) -> Page[Interest]:
    """Requests that one made and got, newest first."""
    wanted = interests.Wanted(paging.limit + 1, direction, status, paging.last)
    rows = await interests.listed(db, me.user_id, wanted, now=clock.now())
    page = paging.page(rows, lambda row: (row["id"],))
    return Page[Interest](results=[Interest.model_validate(row) for row in page.results], next=page.next)


@router.post("/{interest_id}/accept", responses=_REFUSED)
async def accept_interest(interest_id: UUID, me: CurrentUser, db: Db, *, clock: Now, hub: Hub) -> Interest:
    """The two are contacts then, and have a direct conversation."""
    return Interest.model_validate(await interests.accept(db, hub, me.user_id, interest_id, now=clock.now()))


@router.post("/{interest_id}/decline", responses=_REFUSED)
async def decline_interest(interest_id: UUID, me: CurrentUser, db: Db, *, clock: Now, hub: Hub) -> Interest:
    """Whoever asked may ask again after seven days."""
    return Interest.model_validate(await interests.decline(db, hub, me.user_id, interest_id, now=clock.now()))


@router.delete("/{interest_id}", status_code=204, responses={403: _REFUSED[403]})
async def withdraw_interest(interest_id: UUID, me: CurrentUser, db: Db, *, clock: Now, hub: Hub) -> None:
    """Takes back what one asked; or ends being contacts, which either of the two may do."""
    await interests.withdraw(db, hub, me.user_id, interest_id, now=clock.now())
