"""Tokens for programs."""

from datetime import timedelta
from uuid import UUID

from fastapi import APIRouter, status

from auth_service.deps import Device, Themselves, Tools, Unbroken
from auth_service.domain import api_tokens
from auth_service.domain.api_tokens import Wanted
from auth_service.schemas.api_tokens import ApiTokenList, ApiTokenMade, ApiTokenShown, NewApiToken
from libs.auth import CurrentUser
from libs.deps import Db, Now

router = APIRouter(prefix="/api/v1/auth/api-tokens", tags=["api tokens"])


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses={403: {"description": "Who one is must be confirmed."}, 409: {"description": "There are too many."}},
)
async def create_api_token(*, body: NewApiToken, me: Unbroken, db: Db, kit: Tools, device: Device) -> ApiTokenMade:
    """Makes a token for a program, `pat_...`, accepted as Bearer by every service. It is shown in this answer only.

    `*:read` allows GET, `*:write` everything else of that service; what staff does needs `admin`, and the role;
    `introspect`, for administrators, allows asking about tokens and nothing else. No token passes where one must
    confirm who one is.
    """
    lifetime = timedelta(days=body.expires_in_days) if body.expires_in_days else None
    row, token = await api_tokens.create(db, kit, me.user_id, Wanted(body.name, body.scopes, lifetime), client=device)
    return ApiTokenMade(**ApiTokenShown.model_validate(row).model_dump(), token=token)


@router.get("")
async def list_api_tokens(me: CurrentUser, db: Db, clock: Now) -> ApiTokenList:
    """One's own tokens that work, the newest first. Signing out everywhere and a new password leave them alone."""
    rows = await api_tokens.held(db, me.user_id, now=clock.now())
    return ApiTokenList(results=[ApiTokenShown.model_validate(row) for row in rows])


@router.delete("/{token_id}", status_code=status.HTTP_204_NO_CONTENT)
async def revoke_api_token(token_id: UUID, me: Themselves, kit: Tools, device: Device) -> None:
    """Ends a token: every service refuses it from now on."""
    await api_tokens.revoke(kit, token_id, me.user_id, device)
