"""Durable changes other than new messages: numbered, logged and announced like them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import frames, log, messages, visibility
from chat_service.domain.hub import Hub
from chat_service.domain.messages import moment_ms
from chat_service.domain.streams import Run

Notice = tuple[UUID, str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class About:
    """A message that changes. `withheld`: some who follow the conversation may not see it, so the event that goes to
    all of them must not say what it says."""

    conversation_id: UUID
    message_id: UUID
    withheld: bool = False


async def record_message(
    db: AsyncSession, hub: Hub, about: About, kind: str, *, actor_id: UUID, now: datetime
) -> dict[str, Any]:
    """Logs a change of the message under the next number and announces it after the commit. Gives the message as it is
    now. Holds the conversation's row."""
    conversation_id = about.conversation_id
    message = await messages.of_conversation(db, conversation_id, about.message_id)
    seq = await note(db, conversation_id, kind, actor_id=actor_id, data=None, now=now, message_id=about.message_id)
    line = frames.event(conversation_id, seq, kind, visibility.veil(message) if about.withheld else message)
    run = Run(seq, seq, [line], (), moment_ms(now))
    after_commit(db, lambda: hub.publish_run(conversation_id, run))
    return message


async def record(
    db: AsyncSession,
    hub: Hub,
    conversation_id: UUID,
    kind: str,
    *,
    actor_id: UUID,
    data: Mapping[str, Any],
    now: datetime,
) -> int:
    """Logs the change under the next number and announces it after the commit. Holds the conversation's row."""
    seq = await note(db, conversation_id, kind, actor_id=actor_id, data=data, now=now)
    line = frames.event(conversation_id, seq, kind, frames.dump(data))
    run = Run(seq, seq, [line], log.removed(seq, kind, data), moment_ms(now))

    def announce() -> None:
        hub.publish_run(conversation_id, run)
        for user_id, notice, said in notices(conversation_id, kind, data):
            hub.publish_to_user(user_id, notice, said)

    after_commit(db, announce)
    return seq


async def note(
    db: AsyncSession,
    conversation_id: UUID,
    kind: str,
    *,
    actor_id: UUID,
    data: Mapping[str, Any] | None,
    now: datetime,
    message_id: UUID | None = None,
) -> int:
    """Logs the change without announcing it: the dispatcher does, a second later. Without `data` the event shows the
    message, as it is whenever somebody asks."""
    seq: int = await db.scalar(
        text("UPDATE conversation SET event_seq = event_seq + 1 WHERE id = :id RETURNING event_seq"),
        {"id": conversation_id},
    )
    await db.execute(
        text(
            "WITH noted AS (INSERT INTO dispatch (conversation_id, event_seq) VALUES (:id, :seq))"
            " INSERT INTO event (conversation_id, seq, type, message_id, actor_id, payload, created_at)"
            " VALUES (:id, :seq, :kind, :message, :actor, CAST(:payload AS jsonb), :now)"
        ),
        {
            "id": conversation_id,
            "seq": seq,
            "kind": kind,
            "message": message_id,
            "actor": actor_id,
            "payload": frames.dump(data).decode() if data is not None else None,
            "now": now,
        },
    )
    return seq


def notices(conversation_id: UUID, kind: str, data: Mapping[str, Any]) -> Iterator[Notice]:
    """What single users are told of a change, wherever they are."""
    about = {"conversation_id": str(conversation_id)}
    if kind in ("conversation.new", "member.added"):
        for user_id in data["member_ids"]:
            yield UUID(str(user_id)), "conversation.joined", about
    elif kind == "member.removed":
        yield UUID(str(data["user_id"])), "conversation.left", about


def after_commit(db: AsyncSession, work: Callable[[], None]) -> None:
    """Runs `work` once the transaction is committed, and never when it is not."""
    event.listen(db.sync_session, "after_commit", lambda _session: work(), once=True)
