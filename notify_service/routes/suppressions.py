from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from libs import audits
from libs.deps import Db, Now
from libs.paging import Page, PageRequest, keyset
from libs.shapes import Text
from notify_service.deps import Admin
from notify_service.domain import sending, suppressions
from notify_service.domain.suppressions import Entry
from notify_service.schemas.suppressions import Suppression, SuppressionCreate

router = APIRouter(prefix="/api/v1/suppressions", tags=["suppressions"])
Paging = Annotated[PageRequest, keyset(datetime, UUID)]


@router.get("", response_model=Page[Suppression])
async def list_suppressions(
    db: Db, _me: Admin, *, paging: Paging, address: Annotated[Text | None, Query(max_length=4096)] = None
) -> Page[Any]:
    """Addresses that get nothing more, newest first; with `address`, what holds for that one."""
    rows = await suppressions.page(db, address=address, before=paging.key, limit=paging.limit)
    return paging.page(rows, lambda row: (row.created_at, row.id))


@router.post("", status_code=204)
async def create_suppression(body: SuppressionCreate, db: Db, me: Admin, clock: Now) -> None:
    """Sends nothing more to an address: nothing at all, or nothing of one category. Security messages still go."""
    address = sending.address_in(body.channel, body.address)
    await suppressions.add(db, [Entry(body.channel, address, body.category, "manual")], clock.now())
    await audits.tell(db, "suppression.created", me.user_id, now=clock.now(), channel=body.channel)


@router.delete("/{suppression_id:uuid}", status_code=204)
async def delete_suppression(suppression_id: UUID, db: Db, me: Admin, clock: Now) -> None:
    """Takes it back."""
    removed = await suppressions.remove(db, suppression_id)
    await audits.tell(db, "suppression.removed", me.user_id, now=clock.now(), channel=removed.channel)
