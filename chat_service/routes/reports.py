"""Reports of messages: making one, and what staff does with them."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from chat_service.deps import Context, Staff, limited
from chat_service.domain import reports
from chat_service.schemas.reports import Report, ReportCreate, ReportedMessage, ReportStatus, Resolution
from libs.auth import CurrentUser
from libs.deps import Db, Now
from libs.paging import Page, PageRequest, keyset

router = APIRouter(prefix="/api/v1", tags=["moderation"])
_STAFF: dict[int | str, dict[str, Any]] = {403: {"description": "Not one of staff who may do this."}}


async def _wanted(
    paging: Annotated[PageRequest, keyset(UUID)],
    status: Annotated[ReportStatus, Query()] = "open",
) -> reports.Wanted:
    return reports.Wanted(paging.limit + 1, status, paging.last)


Wanted = Annotated[reports.Wanted, Depends(_wanted)]


@router.post(
    "/messages/{message_id}/reports",
    status_code=201,
    dependencies=[limited("report")],
    responses={
        200: {"model": Report, "description": "The one that was made before."},
        429: {"description": "20 a day."},
    },
)
async def report_message(
    message_id: UUID, body: ReportCreate, me: CurrentUser, db: Db, *, clock: Now, response: Response
) -> Report:
    """Shows a message to staff as it is now: deleting it later does not help its sender. Others are not told."""
    complaint = reports.Complaint(body.reason, body.comment)
    made, is_new = await reports.make(db, me.user_id, message_id, complaint, now=clock.now())
    response.status_code = 201 if is_new else 200
    return Report.model_validate(made)


@router.get("/conversations/{conversation_id}/reports", responses={403: {"description": "Not a moderator."}})
async def list_conversation_reports(
    conversation_id: UUID, me: CurrentUser, db: Db, *, wanted: Wanted, paging: Annotated[PageRequest, keyset(UUID)]
) -> Page[ReportedMessage]:
    """What was reported here, oldest first; for moderators of the conversation, who are not told by whom."""
    return _page(await reports.of_conversation(db, me.user_id, conversation_id, wanted), paging)


@router.get("/admin/chat/reports", responses=_STAFF)
async def list_reports(
    _staff: Staff, db: Db, wanted: Wanted, paging: Annotated[PageRequest, keyset(UUID)]
) -> Page[ReportedMessage]:
    """What was reported anywhere, oldest first. Of its conversation staff sees the reported message alone."""
    return _page(await reports.queue(db, wanted), paging)


@router.post(
    "/admin/chat/reports/{report_id}/resolve",
    responses={**_STAFF, 409: {"description": "Somebody else was quicker."}},
)
async def resolve_report(
    report_id: UUID, body: Resolution, staff: Staff, db: Db, *, clock: Now, context: Context
) -> ReportedMessage:
    """Decides, and does it: deletes the message, or removes its sender from the conversation."""
    verdict = reports.Verdict(body.action, body.note)
    resolved = await reports.resolve(context, db, staff.user_id, report_id, verdict=verdict, now=clock.now())
    return ReportedMessage.model_validate(resolved)


def _page(rows: list[dict[str, Any]], paging: PageRequest) -> Page[ReportedMessage]:
    page = paging.page(rows, lambda row: (row["id"],))
    return Page[ReportedMessage](results=[ReportedMessage.model_validate(row) for row in page.results], next=page.next)
