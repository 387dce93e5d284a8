"""A copy of what one has in chat."""

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from chat_service.deps import Context
from chat_service.domain import exports
from libs.auth import CurrentUser
from libs.deps import Db, Now

router = APIRouter(prefix="/api/v1/conversations", tags=["conversations"])


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/x-ndjson": {}}, "description": "`{kind, data}` a line, and `end` at the end."},
        429: {"description": "Once an hour."},
    },
)
async def export_conversations(me: CurrentUser, db: Db, clock: Now, context: Context) -> StreamingResponse:
    """Everything that the caller has here, a line each: profile, conversations, requests, blocks, files, reports, own
    messages and reactions. The last line is `{"kind": "end", "lines": N}`; a copy without it is incomplete."""
    await exports.begin(db, context.redis, me.user_id, clock)
    headers = {"Content-Disposition": 'attachment; filename="chat.ndjson"', "Cache-Control": "no-store"}
    return StreamingResponse(
        exports.lines(context.lanes, me.user_id), media_type="application/x-ndjson", headers=headers
    )
