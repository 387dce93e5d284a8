from typing import Any

from fastapi import APIRouter

from libs.auth import CurrentUser
from libs.deps import Db
from libs.paging import Page
from notify_service import schemas
from notify_service.deps import Paging
from notify_service.domain import deliveries

router = APIRouter(prefix="/api/v1/deliveries", tags=["deliveries"])


@router.get("", response_model=Page[schemas.Delivery])
async def list_deliveries(db: Db, me: CurrentUser, paging: Paging) -> Page[Any]:
    """What was sent to you outside, or not, and why; newest first."""
    rows = await deliveries.page(db, me.user_id, before=paging.id, limit=paging.paging.limit)
    return paging.paging.page(rows, lambda row: (str(row.id),))
