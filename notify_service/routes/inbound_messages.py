"""What people have written to an account: for who may see accounts."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path

from libs.deps import Db
from libs.paging import Page, PageRequest, keyset
from libs.shapes import Text
from notify_service.deps import Admin
from notify_service.domain import inbound_messages
from notify_service.schemas.inbound_messages import Message

router = APIRouter(prefix="/api/v1/accounts/{name}/threads/{peer_id}/messages", tags=["accounts"])
Paging = Annotated[PageRequest, keyset(datetime, UUID)]
Name = Annotated[Text, Path(max_length=40)]
Peer = Annotated[Text, Path(max_length=400)]


@router.get("", response_model=Page[Message])
async def list_messages(name: Name, peer_id: Peer, db: Db, *, _me: Admin, paging: Paging) -> Page[Any]:
    """What somebody has written, newest first by the provider's time. Files are in `.../media`, by `message_id`."""
    rows = await inbound_messages.page(db, name, peer_id, before=paging.key, limit=paging.limit)
    return paging.page(rows, lambda row: (row.at, row.id))
