"""The event log of conversations, read for sockets: where a stream stands, and what came after a number."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from chat_service.domain import frames, messages
from chat_service.domain.streams import Run
from libs.lanes import Lanes

MOST = 300
"""Events that are replayed to a client; beyond that reading the newest page is cheaper for both."""

_TOPS = "SELECT id, event_seq, epoch FROM conversation WHERE id = ANY ($1::uuid[])"
_MINE = """
SELECT i.id FROM unnest($2::uuid[]) AS i(id)
CROSS JOIN LATERAL (SELECT 1 FROM member WHERE conversation_id = i.id AND user_id = $1 LIMIT 1) AS m
"""
# One look-up a stream, each bounded: whoever returns with twenty streams costs one statement.
_AFTER = f"""
SELECT e.conversation_id, e.seq AS event_seq_of_line, e.type AS kind, e.payload::text AS payload, {messages.COLUMNS}
FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS w(conversation_id, after, upto)
CROSS JOIN LATERAL (
    SELECT * FROM event WHERE conversation_id = w.conversation_id AND seq > w.after AND seq <= w.upto
    ORDER BY seq LIMIT {MOST}
) AS e
LEFT JOIN LATERAL (
    SELECT * FROM message WHERE conversation_id = e.conversation_id AND id = e.message_id LIMIT 1
) AS m ON true
LEFT JOIN LATERAL (SELECT * FROM profile WHERE user_id = m.sender_id LIMIT 1) AS p ON true
LEFT JOIN LATERAL (
    SELECT * FROM message WHERE conversation_id = m.conversation_id AND id = m.reply_to LIMIT 1
) AS q ON true
ORDER BY w.conversation_id, e.seq
"""  # noqa: S608  -- constants


class Log:
    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes

    async def tops(self, conversation_ids: Sequence[UUID]) -> dict[UUID, tuple[int, int]]:
        """Number of the last event and epoch of those that exist."""
        rows = await self._lanes.fetch(_TOPS, list(conversation_ids))
        return {row["id"]: (row["event_seq"], row["epoch"]) for row in rows}

    async def visible_to(self, user_id: UUID, conversation_ids: Sequence[UUID]) -> set[UUID]:
        """Those of the conversations that the user is a member of, by the database and not by memory."""
        rows = await self._lanes.fetch(_MINE, user_id, list(conversation_ids))
        return {row["id"] for row in rows}

    async def after(self, wanted: Mapping[UUID, tuple[int, int]]) -> dict[UUID, Run]:
        """Per conversation the events behind the first number up to the second, at most MOST of them."""
        spans = list(wanted.values())
        rows = await self._lanes.fetch(_AFTER, list(wanted), [a for a, _ in spans], [b for _, b in spans])
        grouped: dict[UUID, list[Any]] = {}
        for row in rows:
            grouped.setdefault(row["conversation_id"], []).append(row)
        return {conversation_id: run_of(group) for conversation_id, group in grouped.items()}

    async def read(self, conversation_id: UUID, after: int, upto: int) -> Run | None:
        runs = await self.after({conversation_id: (after, upto)})
        return runs.get(conversation_id)


def run_of(rows: Sequence[Any]) -> Run:
    """From rows of one conversation in the order of their numbers."""
    lines = [line_of(row) for row in rows]
    removed = tuple(
        (row["event_seq_of_line"], UUID(frames.load(row["payload"])["user_id"]))
        for row in rows
        if row["kind"] == "member.removed"
    )
    return Run(rows[0]["event_seq_of_line"], rows[-1]["event_seq_of_line"], lines, removed)


def line_of(row: Any) -> bytes:
    if row["payload"] is None:
        return frames.event(row["conversation_id"], row["event_seq_of_line"], row["kind"], messages.shape(row))
    data = row["payload"].encode()
    return frames.event(row["conversation_id"], row["event_seq_of_line"], row["kind"], data)
