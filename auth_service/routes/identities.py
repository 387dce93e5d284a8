"""One's own accounts elsewhere."""

from uuid import UUID

from fastapi import APIRouter, Response, status

from auth_service.deps import Confirmed, Device, Tools, Unbroken
from auth_service.domain import identities, social, visits
from auth_service.routes.providers import Browser, remember
from auth_service.schemas.identities import IdentityList, IdentityShown, LinkBegin
from auth_service.schemas.providers import VisitBegun, VisitCode
from libs.auth import CurrentUser
from libs.deps import Db

router = APIRouter(prefix="/api/v1/users/me/identities", tags=["identities"])


@router.get("")
async def list_identities(me: CurrentUser, db: Db) -> IdentityList:
    """What one signs in with elsewhere."""
    found = await identities.of_user(db, me.user_id)
    return IdentityList(results=[IdentityShown.model_validate(each) for each in found])


@router.post("/begin", responses={403: {"description": "Confirm who you are first."}})
async def begin_linking(
    *, body: LinkBegin, me: Confirmed, kit: Tools, response: Response, browser: Browser = None
) -> VisitBegun:
    """Begins a visit to a provider, after which its account opens this one too."""
    begun = await visits.begin(kit, body.provider, body.return_to, browser=browser, user_id=me.user_id)
    remember(response, begun.browser)
    return VisitBegun(authorization_url=begun.authorization_url)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses={
        400: {"description": "Not begun by this user in this browser, or over."},
        409: {"description": "Taken."},
    },
)
async def link_identity(
    *, body: VisitCode, me: CurrentUser, kit: Tools, device: Device, browser: Browser = None
) -> IdentityShown:
    """Ends the visit with the code from the fragment. The owner gets a mail."""
    linked = await social.link(kit, me.user_id, body.code, browser, session_id=me.session_id, client=device)
    return IdentityShown.model_validate(linked)


@router.delete(
    "/{identity_id:uuid}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses={403: {"description": "Confirm who you are first."}, 409: {"description": "No other way to sign in."}},
)
async def unlink_identity(*, identity_id: UUID, me: Unbroken, db: Db, kit: Tools, device: Device) -> None:
    """From now on that account opens this one no more. The last way to sign in stays."""
    await identities.unlink(db, kit, me.user_id, identity_id, client=device)
