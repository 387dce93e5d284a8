from typing import Annotated

from fastapi import APIRouter, Path

from libs.deps import Db
from libs.paging import PageRequest, keyset
from libs.shapes import Text
from notify_service.deps import Admin, MaySend
from notify_service.domain import provider_templates
from notify_service.schemas.provider_templates import Asked, Template, Templates

router = APIRouter(prefix="/api/v1/accounts/{name}/templates", tags=["accounts"])
Paging = Annotated[PageRequest, keyset(str, str)]
Name = Annotated[Text, Path(max_length=40)]


@router.get("")
async def list_templates(name: Name, db: Db, _me: MaySend, paging: Paging) -> Templates:
    """The templates that the account's provider keeps for it. 404 where it keeps none."""
    known = await provider_templates.page(db, name, after=paging.key, limit=paging.limit)
    shown = paging.page(known.templates, lambda row: (row.name, row.language))
    return Templates(
        results=[Template.model_validate(each) for each in shown.results],
        next=shown.next,
        synced_at=known.synced_at,
        fault=known.fault,
    )


@router.post("/sync", status_code=202)
async def sync_templates(name: Name, db: Db, _me: Admin) -> Asked:
    """Asks the provider in a moment. It is asked every hour, and when it tells of a change, by itself."""
    await provider_templates.sync(db, name)
    return Asked(account=name)
