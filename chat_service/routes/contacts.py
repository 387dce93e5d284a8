"""Contacts."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter

from chat_service.domain import contacts
from chat_service.schemas.contacts import Contact
from libs.auth import CurrentUser
from libs.deps import Db
from libs.paging import Page, PageRequest, keyset

router = APIRouter(prefix="/api/v1/contacts", tags=["contacts"])


@router.get("")
async def list_contacts(me: CurrentUser, db: Db, paging: Annotated[PageRequest, keyset(UUID)]) -> Page[Contact]:
    """The people with whom a request was accepted."""
    rows = await contacts.listed(db, me.user_id, limit=paging.limit + 1, after=paging.last)
    page = paging.page(rows, lambda row: (row["interest_id"],))
    return Page[Contact](results=[Contact.model_validate(row) for row in page.results], next=page.next)
