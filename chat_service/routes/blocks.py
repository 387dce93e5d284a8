"""Blocks."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter

from chat_service.deps import Hub, Outside, limited
from chat_service.domain import blocks
from chat_service.schemas.blocks import Block
from libs.auth import CurrentUser
from libs.deps import Db, Now
from libs.paging import Page, PageRequest, keyset

router = APIRouter(prefix="/api/v1/blocks", tags=["contacts"])


@router.put("/{user_id}", status_code=204, dependencies=[limited("block")])
async def block_user(user_id: UUID, me: CurrentUser, db: Db, *, clock: Now, outside: Outside) -> None:
    """From the answer on nothing of this user gets into the direct conversation, nor do typing, receipts and presence
    pass between the two. They are contacts no more. The blocked user is not told."""
    await blocks.put(db, outside.hub, me.user_id, user_id, ask=outside.ask, now=clock.now())


@router.delete("/{user_id}", status_code=204)
async def unblock_user(user_id: UUID, me: CurrentUser, db: Db, *, clock: Now, hub: Hub) -> None:
    """They may write again; contacts they are only after another request."""
    await blocks.lift(db, hub, me.user_id, user_id, now=clock.now())


@router.get("")
async def list_blocks(me: CurrentUser, db: Db, paging: Annotated[PageRequest, keyset(UUID)]) -> Page[Block]:
    """Whom the caller has blocked."""
    rows = await blocks.listed(db, me.user_id, limit=paging.limit + 1, after=paging.last)
    page = paging.page(rows, lambda row: (row["user"]["id"],))
    return Page[Block](results=[Block.model_validate(row) for row in page.results], next=page.next)
