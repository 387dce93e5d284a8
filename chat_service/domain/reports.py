"""Messages that somebody reported: as they were then, for those who decide what becomes of them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import deletions, frames, members, messages, rights, visibility
from chat_service.domain.context import Context
from chat_service.domain.hub import Hub
from chat_service.domain.targets import Actor
from chat_service.errors import NoMessage, NoReport, NotManager, ReportResolved, invalid
from libs import audits
from libs.errors import RateLimited
from libs.ids import uuid7

A_DAY = 20
_DAY = timedelta(days=1)
NONE, DELETE_MESSAGE, REMOVE_MEMBER = "none", "delete_message", "remove_member"

_SEEN = text(
    f"SELECT {messages.COLUMNS}, c.type AS conversation_type, c.name AS conversation_name"  # noqa: S608  -- constants
    f" FROM message AS m {visibility.MINE} {messages.JOINS} WHERE m.id = :id AND m.deleted_at IS NULL"
)
_COUNT = text(
    "SELECT count(*) AS made, min(created_at) AS first FROM ("
    " SELECT created_at FROM report WHERE reporter_id = :me AND created_at > :since"
    " ORDER BY created_at DESC LIMIT :most) AS r"
)
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")
_INSERT = text(
    """
    INSERT INTO report (id, conversation_id, message_id, reporter_id, reason, comment, snapshot, created_at)
    VALUES (:id, :conversation, :message, :me, :reason, :comment, CAST(:snapshot AS jsonb), :now)
    ON CONFLICT (message_id, reporter_id) DO NOTHING
    RETURNING id, message_id, reason, status, created_at
    """
)
_MINE = text(
    "SELECT id, message_id, reason, status, created_at FROM report WHERE message_id = :message AND reporter_id = :me"
)
_SELECT = """
    SELECT r.id, r.message_id, r.conversation_id, r.reason, r.comment, r.snapshot, r.status, r.created_at,
        r.resolved_by, r.resolved_at, r.resolution AS action, r.note, r.reporter_id,
        p.username, p.display_name, p.avatar_url
    FROM report AS r LEFT JOIN profile AS p ON p.user_id = r.reporter_id
"""
_QUEUE = text(
    _SELECT + " WHERE r.status = :status AND (CAST(:after AS uuid) IS NULL OR r.id > :after) ORDER BY r.id LIMIT :limit"
)
_OF_CONVERSATION = text(
    _SELECT + " WHERE r.conversation_id = :conversation AND r.status = :status"
    " AND (CAST(:after AS uuid) IS NULL OR r.id > :after) ORDER BY r.id LIMIT :limit"
)
_HOLD_CONVERSATION = text("SELECT id FROM conversation WHERE id = :id FOR UPDATE")
_HOLD = text(_SELECT + " WHERE r.id = :id FOR UPDATE OF r")
_RESOLVE = text(
    "UPDATE report SET status = :status, resolved_by = :me, resolved_at = :now, resolution = :action, note = :note"
    " WHERE id = :id"
)
_WHERE = text("SELECT conversation_id, snapshot -> 'message' -> 'sender' ->> 'id' AS sender FROM report WHERE id = :id")
_MEMBERSHIP = text(
    "SELECT c.type, m.role FROM conversation AS c LEFT JOIN member AS m ON m.conversation_id = c.id"
    " AND m.user_id = :user WHERE c.id = :id AND c.deleted_at IS NULL"
)


@dataclass(frozen=True, slots=True)
class Complaint:
    reason: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    action: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which reports to list; `after`: the id of the last one seen."""

    limit: int
    status: str = "open"
    after: UUID | None = None


async def make(
    db: AsyncSession, me: UUID, message_id: UUID, complaint: Complaint, *, now: datetime
) -> tuple[dict[str, Any], bool]:
    """The report, and whether it is new: of one message everybody makes one. Raises NoMessage, Invalid, RateLimited."""
    row = (await db.execute(_SEEN, {"id": message_id, "user": me})).mappings().first()
    if row is None:
        raise NoMessage
    if row["sender_id"] == me:
        raise invalid("message_id", "This is your own message.")
    await db.execute(_LOCK, {"key": f"report:{me}"})
    known = (await db.execute(_MINE, {"message": message_id, "me": me})).mappings().first()
    if known is not None:
        return dict(known), False
    await _require_moderation(db, me, now=now)
    about = {"conversation_type": row["conversation_type"], "conversation_name": row["conversation_name"]}
    values = {
        "id": uuid7(),
        "conversation": row["conversation_id"],
        "message": message_id,
        "me": me,
        "reason": complaint.reason,
        "comment": complaint.comment,
        "snapshot": frames.dump({"message": messages.shape(row), **about}).decode(),
    }
    made = (await db.execute(_INSERT, {**values, "now": now})).mappings().one()
    where = {"conversation": row["conversation_id"], "message": message_id}
    await audits.tell(db, "report.created", me, row["sender_id"], now=now, reason_given=complaint.reason, **where)
    return dict(made), True


async def queue(db: AsyncSession, wanted: Wanted) -> list[dict[str, Any]]:
    """For staff: oldest first."""
    values = {"status": wanted.status, "after": wanted.after, "limit": wanted.limit}
    return [_shape(row) for row in (await db.execute(_QUEUE, values)).mappings()]


async def of_conversation(db: AsyncSession, me: UUID, conversation_id: UUID, wanted: Wanted) -> list[dict[str, Any]]:
    """For its moderators, who are not told who reported. Raises NoConversation, NotManager."""
    sight = await visibility.sight(db, me, conversation_id)
    if sight.conversation_type == "direct" or not rights.may_moderate(sight.role):
        raise NotManager("Only moderators of the conversation may do this.")
    values = {"conversation": conversation_id, "status": wanted.status, "after": wanted.after, "limit": wanted.limit}
    rows = (await db.execute(_OF_CONVERSATION, values)).mappings()
    return [{**_shape(row), "reporter": None} for row in rows]


async def resolve(
    context: Context, db: AsyncSession, me: UUID, report_id: UUID, *, verdict: Verdict, now: datetime
) -> dict[str, Any]:
    """What staff decided, and done. Raises NoReport, ReportResolved, Invalid."""
    where = (await db.execute(_WHERE, {"id": report_id})).first()
    if where is None:
        raise NoReport
    sender = UUID(where.sender) if where.sender else None
    # The conversation before anything in it, as everywhere.
    await db.execute(_HOLD_CONVERSATION, {"id": where.conversation_id})
    found = (await db.execute(_HOLD, {"id": report_id})).mappings().one()
    if found["status"] != "open":
        raise ReportResolved
    if verdict.action == DELETE_MESSAGE:
        await _delete(context, db, me, found["message_id"], now=now)
    elif verdict.action == REMOVE_MEMBER:
        await _remove(db, context.hub, me, where.conversation_id, user_id=sender, now=now)
    status = "dismissed" if verdict.action == NONE else "resolved"
    values = {"id": report_id, "status": status, "me": me, "now": now, "action": verdict.action, "note": verdict.note}
    await db.execute(_RESOLVE, values)
    data = {"report": report_id, "action_taken": verdict.action, "message": found["message_id"]}
    await audits.tell(db, "report.resolved", me, sender, now=now, **data)
    return _shape((await db.execute(_HOLD, {"id": report_id})).mappings().one())


async def _delete(context: Context, db: AsyncSession, me: UUID, message_id: UUID, *, now: datetime) -> None:
    try:
        await deletions.delete(context, db, Actor(me, is_staff=True), message_id, now=now)
    except NoMessage:
        # Gone with its conversation.
        return


async def _remove(
    db: AsyncSession, hub: Hub, me: UUID, conversation_id: UUID, *, user_id: UUID | None, now: datetime
) -> None:
    found = (await db.execute(_MEMBERSHIP, {"id": conversation_id, "user": user_id})).first()
    if found is None or found.role is None or user_id is None:
        # Left, or gone with the conversation.
        return
    if found.type == "direct" or found.role == rights.OWNER:
        raise invalid("action", "Neither an owner nor one of two people can be removed.")
    await members.put_out(db, hub, conversation_id, user_id=user_id, by=me, now=now)


async def _require_moderation(db: AsyncSession, me: UUID, *, now: datetime) -> None:
    row = (await db.execute(_COUNT, {"me": me, "since": now - _DAY, "most": A_DAY})).one()
    if row.made >= A_DAY:
        raise RateLimited(max(1, round((row.first + _DAY - now).total_seconds())))


def _shape(row: messages.Row) -> dict[str, Any]:
    shown = ("id", "message_id", "conversation_id", "reason", "comment", "status", "created_at", "resolved_by")
    more = ("resolved_at", "action", "note")
    return {
        **{name: row[name] for name in (*shown, *more)},
        "reporter": messages.person(row["reporter_id"], row),
        "snapshot": row["snapshot"] or None,
    }
