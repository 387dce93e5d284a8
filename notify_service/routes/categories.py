from typing import Annotated, Any

from fastapi import APIRouter

from libs import audits
from libs.deps import Db, Now
from libs.paging import Page, PageRequest, keyset
from notify_service.deps import Admin, WaysOut
from notify_service.domain import categories
from notify_service.schemas.categories import Category, CategoryRule
from notify_service.schemas.fields import Category as Name

router = APIRouter(prefix="/api/v1/categories", tags=["categories"])
Paging = Annotated[PageRequest, keyset(str)]


@router.get("", response_model=Page[Category])
async def list_categories(db: Db, _me: Admin, paging: Paging) -> Page[Any]:
    """The categories for which something was decided, by name."""
    rows = await categories.page(db, after=paging.last, limit=paging.limit)
    return paging.page(rows, lambda row: (row.name,))


@router.get("/{name}")
async def read_category(name: Name, db: Db, _me: Admin) -> Category:
    """What holds for one."""
    return Category.model_validate(await categories.read(db, name))


@router.put("/{name}")
async def decide_category(name: Name, body: CategoryRule, db: Db, *, me: Admin, clock: Now, links: WaysOut) -> Category:
    """Says how many of its messages one reader gets, and which are said together: from the next message on, whoever
    sends it."""
    decided = await categories.decide(db, name, body, links=links, now=clock.now())
    await audits.tell(db, "category.changed", me.user_id, now=clock.now(), category=name)
    return Category.model_validate(decided)


@router.delete("/{name}", status_code=204)
async def forget_category(name: Name, db: Db, me: Admin, clock: Now) -> None:
    """Sends each of its messages as it comes. What is collected goes at once."""
    await categories.forget(db, name, clock.now())
    await audits.tell(db, "category.removed", me.user_id, now=clock.now(), category=name)
