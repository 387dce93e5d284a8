"""Leaving."""

from uuid import UUID

from fastapi import APIRouter, status

from auth_service.deps import Confirmed, Device, Tools
from auth_service.domain import deletion
from auth_service.domain.visibility import Viewer

router = APIRouter(prefix="/api/v1/users", tags=["users"])


@router.delete("/me", status_code=status.HTTP_204_NO_CONTENT)
async def delete_me(me: Confirmed, kit: Tools, device: Device) -> None:
    """Signs out everywhere at once and erases the account after 14 days. Signing in before then takes it back."""
    await deletion.request(kit, me.user_id, by=Viewer.of(me.user_id, me.roles), client=device)


@router.delete(
    "/{user_id}", status_code=status.HTTP_204_NO_CONTENT, responses={403: {"description": "This is somebody else."}}
)
async def delete_user(user_id: UUID, me: Confirmed, kit: Tools, device: Device) -> None:
    """The same for oneself; staff may do it to others who are not staff, administrators to anybody.

    Its owner can take it back by signing in, unless the account is suspended.
    """
    await deletion.request(kit, user_id, by=Viewer.of(me.user_id, me.roles), client=device)
