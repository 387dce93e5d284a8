"""Passing a message on: a copy that keeps what it said, and says where it came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import attachments, messages
from chat_service.domain.context import Context
from chat_service.domain.drafts import NOTHING, Extras
from chat_service.errors import MessageDeleted, NoTarget
from libs.errors import Forbidden, Invalid, NotFound, RateLimited, ServiceError, Unavailable

MOST = 20
"""Conversations at once."""

_MINE = """
SELECT m.conversation_id FROM member AS m JOIN conversation AS c ON c.id = m.conversation_id
WHERE m.user_id = :me AND m.conversation_id = ANY (CAST(:ids AS uuid[])) AND c.deleted_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    message_id: UUID
    conversation_ids: Sequence[UUID]
    in_words: bool = False
    """The text says where it came from, for clients that know no other way."""
    key: str | None = None
    """Repeating a request with the same one stores nothing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    conversation_id: UUID
    message: dict[str, Any] | None
    refusal: ServiceError | None = None


async def forward(context: Context, me: UUID, wanted: Wanted, *, now: datetime) -> list[Outcome]:
    """One outcome for each conversation, in their order: some may take nothing from the caller.

    Raises NoMessage, MessageDeleted, NoTarget if one of them is not the caller's, Throttled, QuotaExceeded.
    """
    context.change_allowed(me)
    targets = list(dict.fromkeys(wanted.conversation_ids))
    async with context.db.transaction() as db:
        source = await messages.read(db, me, wanted.message_id)
        if source["deleted_at"] is not None:
            raise MessageDeleted
        await _require_mine(db, me, targets)
        files = [await _files(context, db, me, source, now=now) for _ in targets]
    outcomes = []
    for target, copied in zip(targets, files, strict=True):
        outcomes.append(await _send(context, me, wanted, source=source, target=target, files=copied))
    return outcomes


async def _require_mine(db: AsyncSession, me: UUID, targets: Sequence[UUID]) -> None:
    found = await db.scalars(text(_MINE), {"me": me, "ids": targets})
    if set(targets) - set(found):
        raise NoTarget


async def _files(context: Context, db: AsyncSession, me: UUID, source: dict[str, Any], *, now: datetime) -> list[UUID]:
    """Copies of its files for one conversation; the bytes are shared."""
    if not source["attachments"]:
        return []
    place = UUID(source["conversation_id"]), UUID(source["id"])
    return await attachments.copy(db, me, *place, quota=context.files.limits.quota, now=now)


async def _send(
    context: Context, me: UUID, wanted: Wanted, *, source: dict[str, Any], target: UUID, files: list[UUID]
) -> Outcome:
    client_msg_id = messages.id_of_key(me, f"{wanted.key} {target}") if wanted.key is not None else None
    origin = None if wanted.in_words else source["forwarded_from"] or _origin(source)
    kind = source["message_type"] if files else None
    extras = Extras(message_type=kind, attachments=tuple(files), forwarded_from=origin)
    carried = extras if extras != NOTHING else None
    content = f"Forwarded from {_name(source)}:\n\n{source['content']}" if wanted.in_words else source["content"]
    try:
        sent = await messages.send(context, me, target, messages.Text(content, client_msg_id, None, carried))
    except (Forbidden, Invalid, NotFound, RateLimited, Unavailable) as error:
        return Outcome(target, None, error)
    return Outcome(target, sent.message)


def _origin(source: dict[str, Any]) -> dict[str, Any]:
    return {
        "message_id": source["id"],
        "conversation_id": source["conversation_id"],
        "sender": source["sender"],
        "sent_at": source["created_at"],
    }


def _name(source: dict[str, Any]) -> str:
    return str(source["sender"]["display_name"] or source["sender"]["username"] or "somebody")
