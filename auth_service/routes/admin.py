"""Staff at work on accounts. What each role may do is in `docs/roles.md`."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, status

from auth_service.deps import ConfirmedAnd, Permitted, Tools
from auth_service.domain import directory, impersonation, interventions, roles
from auth_service.domain.directory import Wanted
from auth_service.domain.roles import Staff
from auth_service.domain.tokens import FAMILIES, IMPERSONATED
from auth_service.schemas.admin import (
    Account,
    AccountDossier,
    Impersonation,
    Reason,
    ResetSent,
    Roles,
    SessionsEnded,
    Unlocked,
    UserQuery,
)
from auth_service.schemas.countries import Countries
from auth_service.schemas.fields import Instant
from libs.deps import Db, Now, made
from libs.paging import Page, PageRequest, keyset

router = APIRouter(prefix="/api/v1/admin/auth", tags=["admin"])
Paging = Annotated[PageRequest, keyset(UUID)]
Reader = Annotated[Staff, Depends(Permitted("users.read"))]
_CONFLICT: dict[int | str, dict[str, Any]] = {409: {"description": "The account's state does not allow it."}}


@router.get("/users")
async def search_accounts(
    *,
    _staff: Reader,
    db: Db,
    paging: Paging,
    filters: Annotated[UserQuery, made(UserQuery)],
    since: Annotated[Instant | None, Query(alias="created_at__gte")] = None,
    until: Annotated[Instant | None, Query(alias="created_at__lte")] = None,
) -> Page[Account]:
    """Accounts by what identifies them, the newest first."""
    wanted = Wanted(**filters.model_dump(), since=since, until=until)
    rows = await directory.search(db, wanted, before=paging.last, limit=paging.limit)
    shown = [Account.model_validate(row) for row in rows]
    return paging.page(shown, key=lambda account: (account.id,))


@router.get("/users/{user_id}")
async def read_account(user_id: UUID, _staff: Reader, db: Db, clock: Now) -> AccountDossier:
    """One account with its sessions and how it signs in; never a secret."""
    return AccountDossier.of_dossier(await directory.read(db, user_id, now=clock.now()))


@router.put("/users/{user_id}/roles", responses={409: {"description": "The last administrator."}})
async def change_roles(
    user_id: UUID, body: Roles, staff: Annotated[Staff, Depends(ConfirmedAnd("roles.change"))], kit: Tools
) -> Account:
    """Replaces the roles. From the next request on: tokens with the old ones are refused with `token_stale`."""
    return Account.model_validate(await roles.change(kit, user_id, body.roles, staff=staff))


@router.post("/users/{user_id}/suspend", responses=_CONFLICT)
async def suspend_account(
    user_id: UUID, body: Reason, staff: Annotated[Staff, Depends(Permitted("users.suspend"))], kit: Tools
) -> Account:
    """Nobody signs in to the account, its sessions end, its tokens and sockets are refused."""
    return Account.model_validate(await interventions.suspend(kit, user_id, body.reason, staff=staff))


@router.post("/users/{user_id}/reinstate", responses=_CONFLICT)
async def reinstate_account(
    user_id: UUID, body: Reason, staff: Annotated[Staff, Depends(Permitted("users.suspend"))], kit: Tools
) -> Account:
    """Ends a suspension. Its owner signs in again."""
    return Account.model_validate(await interventions.reinstate(kit, user_id, body.reason, staff=staff))


@router.post("/users/{user_id}/password-reset", status_code=status.HTTP_202_ACCEPTED, responses=_CONFLICT)
async def force_password_reset(
    user_id: UUID, staff: Annotated[Staff, Depends(Permitted("users.reset_password"))], kit: Tools
) -> ResetSent:
    """The password is void, sessions end, and the owner gets a link to choose another. Nobody else can choose it."""
    await interventions.reset_password(kit, user_id, staff=staff)
    return ResetSent()


@router.post("/users/{user_id}/end-sessions")
async def end_account_sessions(
    user_id: UUID, staff: Annotated[Staff, Depends(Permitted("users.end_sessions"))], kit: Tools
) -> SessionsEnded:
    """Signs the user out everywhere."""
    return SessionsEnded(ended=await interventions.end_sessions(kit, user_id, staff=staff))


@router.post("/users/{user_id}/unlock")
async def unlock_account(
    user_id: UUID, staff: Annotated[Staff, Depends(Permitted("users.unlock"))], db: Db, clock: Now
) -> Unlocked:
    """Forgets the failed tries that make signing in wait."""
    await interventions.unlock(db, user_id, staff=staff, now=clock.now())
    return Unlocked()


@router.put("/users/{user_id}/countries")
async def restrict_account(
    *,
    user_id: UUID,
    body: Countries,
    staff: Annotated[Staff, Depends(Permitted("users.restrict"))],
    db: Db,
    clock: Now,
) -> Account:
    """Says from which countries the account may be used."""
    countries = body.allowed_countries
    return Account.model_validate(await interventions.restrict(db, user_id, countries, staff=staff, now=clock.now()))


@router.post("/users/{user_id}/impersonate", status_code=status.HTTP_201_CREATED, responses=_CONFLICT)
async def impersonate(
    *,
    user_id: UUID,
    body: Reason,
    staff: Annotated[Staff, Depends(ConfirmedAnd("users.impersonate"))],
    db: Db,
    kit: Tools,
) -> Impersonation:
    """An access token with which staff sees what the user sees, for 15 minutes. It changes no credentials."""
    pair = await impersonation.begin(db, kit, user_id, body.reason, staff=staff)
    seconds = int(FAMILIES[IMPERSONATED].access.total_seconds())
    return Impersonation(access=pair.access, expires_in=seconds, user_id=user_id, actor_id=staff.id)


@router.post("/end-everyones-sessions")
async def end_everyones_sessions(
    body: Reason, staff: Annotated[Staff, Depends(ConfirmedAnd("sessions.end_everyones"))], kit: Tools
) -> SessionsEnded:
    """Signs everybody out, the caller too: for the day on which a key may have leaked."""
    return SessionsEnded(ended=await interventions.end_everyones(kit, body.reason, staff=staff))
