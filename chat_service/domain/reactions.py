"""Reactions: who reacted with what, and how many did.

Two statements of one transaction: the first locks the conversation, so the second sees all that was done before it and
counts right, however many react at once.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from chat_service.domain import frames, messages, rights, visibility
from chat_service.domain.context import Context
from chat_service.domain.emoji import is_emoji
from chat_service.domain.messages import Row, moment_ms
from chat_service.domain.streams import Run
from chat_service.errors import CannotPost, CannotReact, MessageDeleted, NoMessage, TooManyReactions, invalid
from libs.errors import ServiceError

MOST = 20
"""Different ones a message."""

_LOCK = """
SELECT c.id, c.status, me.role, me.barred FROM conversation AS c
JOIN member AS me ON me.conversation_id = c.id AND me.user_id = $2
WHERE c.id = (SELECT conversation_id FROM message WHERE id = $1 LIMIT 1) AND c.deleted_at IS NULL FOR UPDATE OF c
"""
_TARGET = f"""
WITH target AS MATERIALIZED (
    SELECT m.id, m.deleted_at, m.reactions FROM message AS m {visibility.mine("$3")}
    WHERE m.conversation_id = $1 AND m.id = $2
)"""  # noqa: S608  -- constants
_LOG = """
bumped AS (
    UPDATE conversation SET event_seq = event_seq + 1 WHERE id = $1 AND EXISTS (SELECT 1 FROM changed)
    RETURNING event_seq
),
logged AS (
    INSERT INTO event (conversation_id, seq, type, actor_id, payload, created_at)
    SELECT $1, bumped.event_seq, 'reaction.changed', $3, jsonb_build_object(
        'message_id', $2, 'user_id', $3, 'emoji', $4::text, 'on', {on}, 'count', counted.count), $5
    FROM bumped, counted
),
dispatched AS (INSERT INTO dispatch (conversation_id, event_seq) SELECT $1, event_seq FROM bumped)
SELECT target.deleted_at, (SELECT event_seq FROM bumped) AS event_seq, (SELECT count FROM counted) AS count,
       coalesce((target.reactions ->> $4)::int, 0) AS before,
       target.reactions ? $4 OR (SELECT count(*) FROM jsonb_object_keys(target.reactions)) < {most}
           AS fits
FROM target
"""
_ON = (
    _TARGET
    + """,
changed AS (
    INSERT INTO reaction (conversation_id, message_id, user_id, emoji, created_at)
    SELECT $1, id, $3, $4, $5 FROM target
    WHERE deleted_at IS NULL AND (reactions IS NULL OR reactions ? $4
        OR (SELECT count(*) FROM jsonb_object_keys(reactions)) < {most})
    ON CONFLICT DO NOTHING RETURNING emoji
),
counted AS (
    UPDATE message SET reactions = coalesce(reactions, '{}') || jsonb_build_object(
        $4::text, coalesce((reactions ->> $4)::int, 0) + 1)
    WHERE conversation_id = $1 AND id = $2 AND EXISTS (SELECT 1 FROM changed)
    RETURNING (reactions ->> $4)::int AS count
),""".replace("{most}", str(MOST))
    + _LOG.format(on="true", most=MOST)
)
_OFF = (
    _TARGET  # noqa: S608  -- constants
    + """,
changed AS (
    DELETE FROM reaction USING target
    WHERE conversation_id = $1 AND message_id = target.id AND user_id = $3 AND emoji = $4 RETURNING emoji
),
counted AS (
    UPDATE message SET reactions = CASE WHEN (reactions ->> $4)::int > 1
        THEN reactions || jsonb_build_object($4::text, (reactions ->> $4)::int - 1)
        ELSE nullif(reactions - $4, '{}') END
    WHERE conversation_id = $1 AND id = $2 AND EXISTS (SELECT 1 FROM changed)
    RETURNING coalesce((reactions ->> $4)::int, 0) AS count
),"""
    + _LOG.format(on="false", most=MOST)
)
_LISTED = f"""
SELECT r.user_id, r.emoji, r.created_at, p.username, p.display_name, p.avatar_url
FROM message AS m {visibility.mine("$2")}
JOIN reaction AS r ON r.conversation_id = m.conversation_id AND r.message_id = m.id
LEFT JOIN profile AS p ON p.user_id = r.user_id
WHERE m.id = $1 AND ($3::text IS NULL OR r.emoji = $3) AND (r.user_id, r.emoji) > ($4::uuid, $5::text)
ORDER BY r.user_id, r.emoji LIMIT $6
"""  # noqa: S608  -- constants


class Reaction(NamedTuple):
    message_id: UUID
    emoji: str
    on: bool


@dataclass(frozen=True, slots=True)
class Count:
    emoji: str
    count: int


async def react(context: Context, me: UUID, reaction: Reaction, *, now: datetime) -> Count:
    """Twice is as once.

    Raises NoMessage, CannotReact, CannotPost, MessageDeleted, TooManyReactions, Invalid, Throttled.
    """
    emoji = reaction.emoji
    if not is_emoji(emoji):
        raise invalid("emoji", "This must be one emoji, or the name of one as :tada:.")
    context.change_allowed(me)
    conversation_id, row = await _change(context, me, reaction, now)
    if row["event_seq"] is None:
        return Count(emoji, row["before"])
    data = {
        "message_id": reaction.message_id,
        "user_id": me,
        "emoji": emoji,
        "on": reaction.on,
        "count": row["count"],
    }
    line = frames.event(conversation_id, row["event_seq"], "reaction.changed", data)
    context.hub.publish_run(conversation_id, Run(row["event_seq"], row["event_seq"], [line], (), moment_ms(now)))
    return Count(emoji, row["count"])


async def _change(context: Context, me: UUID, reaction: Reaction, now: datetime) -> tuple[UUID, Row]:
    message_id, emoji, on = reaction
    refusal: ServiceError | None = None
    rows: list[Row] = []
    # Nothing is raised within: that would cost the connection.
    async with context.locking.transaction() as fetch:
        held = await fetch(_LOCK, message_id, me)
        refusal = _refusal_before(held, on=on)
        if refusal is None:
            rows = await fetch(_ON if on else _OFF, held[0]["id"], message_id, me, emoji, now)
            refusal = _refusal_after(rows, on=on)
    if refusal is not None:
        raise refusal
    return held[0]["id"], rows[0]


def _refusal_before(held: list[Row], *, on: bool) -> ServiceError | None:
    if not held:
        return NoMessage()
    if on and (held[0]["status"] != "active" or held[0]["barred"]):
        return CannotPost()
    return CannotReact() if on and not rights.may_react(held[0]["role"]) else None


def _refusal_after(rows: list[Row], *, on: bool) -> ServiceError | None:
    if not rows:
        return NoMessage()
    if rows[0]["deleted_at"] is not None:
        return MessageDeleted()
    return TooManyReactions() if on and rows[0]["fits"] is False else None


async def listed(
    context: Context, me: UUID, message_id: UUID, *, emoji: str | None, after: tuple[UUID, str] | None, limit: int
) -> list[dict[str, Any]]:
    """By person. The caller has made sure that the message is visible."""
    rows = await context.lanes.fetch(_LISTED, message_id, me, emoji, *(after or (UUID(int=0), "")), limit)
    return [
        {"user": messages.person(row["user_id"], row), "emoji": row["emoji"], "created_at": row["created_at"]}
        for row in rows
    ]
