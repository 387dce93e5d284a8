"""Copies of what is known of oneself."""

from uuid import UUID

from fastapi import APIRouter, status

from auth_service.deps import Confirmed, Device, Tools
from auth_service.domain import exports
from auth_service.schemas.exports import ExportDocument, ExportShown
from libs.auth import CurrentUser
from libs.deps import Db, Now

router = APIRouter(prefix="/api/v1/users/me/exports", tags=["users"])


@router.post("", status_code=status.HTTP_202_ACCEPTED, responses={429: {"description": "One a day."}})
async def request_export(me: Confirmed, db: Db, kit: Tools, device: Device) -> ExportShown:
    """Orders a copy of everything that the account has: profile, sessions, what happened to it. Ready in a moment."""
    return ExportShown.model_validate(await exports.request(db, kit, me.user_id, client=device))


@router.get("/{export_id}")
async def read_export(export_id: UUID, me: CurrentUser, db: Db, clock: Now) -> ExportShown:
    """Whether it is ready, and until when it is kept."""
    return ExportShown.model_validate(await exports.read(db, export_id, me.user_id, now=clock.now()))


@router.get("/{export_id}/document", responses={409: {"description": "It is not ready yet."}})
async def read_export_document(*, export_id: UUID, me: Confirmed, db: Db, kit: Tools, device: Device) -> ExportDocument:
    """The copy itself, for a week."""
    return ExportDocument(await exports.document(db, kit, export_id, me.user_id, client=device))
