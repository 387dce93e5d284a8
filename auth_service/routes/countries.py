"""The countries that one's own account may be used from."""

from fastapi import APIRouter

from auth_service.deps import Device, Tools, Unbroken
from auth_service.domain import countries, users
from auth_service.schemas.countries import Countries
from libs.auth import CurrentUser
from libs.deps import Db

router = APIRouter(prefix="/api/v1/users/me/countries", tags=["users"])


@router.get("")
async def read_my_countries(me: CurrentUser, db: Db) -> Countries:
    """The countries that one's account is bound to; null: none."""
    return Countries.model_validate(await users.myself(db, me.user_id), from_attributes=True)


@router.put("", responses={403: {"description": "Who one is must be confirmed."}})
async def choose_my_countries(*, body: Countries, me: Unbroken, db: Db, kit: Tools, device: Device) -> Countries:
    """Binds one's account to countries: from elsewhere nobody signs in to it or refreshes. A place that no database
    knows is let in. The country that one is in must be among them; a mail tells the owner."""
    user = await countries.choose(db, kit, me.user_id, body.allowed_countries, client=device)
    return Countries.model_validate(user, from_attributes=True)
