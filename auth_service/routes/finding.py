"""Finding people, and making accounts for others."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response, status

from auth_service.deps import Device, Looking, Tools
from auth_service.domain import accounts, finding, identifiers, people, quotas
from auth_service.domain.accounts import Registration
from auth_service.errors import NotAllowed, Taken
from auth_service.schemas.accounts import VerificationSent
from auth_service.schemas.finding import Found, NewUser, UserFilters, UserSearch
from auth_service.schemas.users import User
from libs.deps import Db, Now, made
from libs.paging import CountedPage, Page, PageRequest, keyset

router = APIRouter(prefix="/api/v1/users", tags=["users"])
Paging = Annotated[PageRequest, keyset(UUID, both_ways=True)]
_ACCOUNTS_AN_HOUR = 20


@router.get("")
async def list_users(
    *,
    me: Looking,
    db: Db,
    paging: Paging,
    filters: Annotated[UserFilters, made(UserFilters)],
    count: Annotated[bool, Query(description="Whether to count all that match.")] = False,
) -> CountedPage[User] | Page[User]:
    """People, the newest first. Filters are combined; a value that is hidden from the caller never matches."""
    wanted = filters.read()
    found = await finding.listed(db, me, wanted, limit=paging.limit, start=paging.last, backward=paging.backward)
    page = paging.page_both_ways([User.model_validate(p) for p in found], key=lambda user: (user.id,))
    if not count:
        return page
    counted = await finding.count(db, me, wanted)
    return CountedPage(results=page.results, next=page.next, previous=page.previous, count=counted)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=None,
    responses={
        201: {"model": User, "description": "The account is there; nobody is signed in to it."},
        202: {"model": VerificationSent, "description": "Addresses must be confirmed first."},
    },
)
async def create_user(
    *, body: NewUser, me: Looking, db: Db, kit: Tools, device: Device, response: Response
) -> User | VerificationSent:
    """Makes an account for somebody else, at most 20 an hour. A taken name is an error of its field.

    Where addresses must be confirmed first the answer is 202 and the same whether or not the address is known.
    """
    new = Registration(
        password=body.password,
        username=identifiers.username(body.username),
        email=identifiers.email(body.email),
        first_name=body.first_name,
        last_name=body.last_name,
    )
    # Refused ones count too: whoever tries out addresses makes no account.
    async with kit.database.transaction() as counting:
        key = f"register:{me.user_id}"
        await quotas.take(counting, key, most=_ACCOUNTS_AN_HOUR, window=timedelta(hours=1), now=kit.clock.now())
    try:
        if kit.must_verify:
            await accounts.register(db, kit, new, device)
            response.status_code = status.HTTP_202_ACCEPTED
            return VerificationSent()
        made = await accounts.open_account(db, kit, new, device)
    except Taken as taken:
        raise NotAllowed(taken.field, taken.detail) from None
    return User.model_validate(await people.read(db, me, made.id))


@router.post("/search")
async def search_users(body: UserSearch, me: Looking, db: Db) -> Found:
    """People whose username begins with the query or whose names contain it, and whoever shows the caller that e-mail
    address."""
    query = (body.query or "").strip()
    if not query:
        raise NotAllowed("query", "Search query is required")
    found = [User.model_validate(person) for person in await finding.search(db, me, query, limit=body.limit)]
    return Found(results=found, count=len(found))


@router.get("/online")
async def list_online_users(me: Looking, db: Db, clock: Now) -> Found:
    """At most 50 people who were here within the last five minutes and show it to the caller."""
    found = [User.model_validate(person) for person in await finding.online(db, me, now=clock.now())]
    return Found(results=found, count=len(found))
