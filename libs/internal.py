"""Routes between services that are the same in each. The gateway never forwards `/internal`."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from libs import outbox
from libs.auth import CallingService
from libs.contracts.events import EventPage
from libs.deps import Db

router = APIRouter(prefix="/internal", include_in_schema=False)


@router.get("/events")
async def read_events(
    request: Request,
    db: Db,
    _service: CallingService,
    after: Annotated[int, Query(ge=0, lt=1 << 62)],
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> EventPage:
    """Events after a position, oldest first; for readers that find the stream cut short."""
    return await outbox.read(db, request.app.state.name, after=after, limit=limit)
