"""The event log of conversations, read for sockets: where a stream stands, and what came after a number."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from chat_service.domain import frames, messages, visibility
from chat_service.domain.streams import EVERYBODY, Run
from libs.lanes import Lanes

MOST = 300
"""Events that are replayed to a client; beyond that reading the newest page is cheaper for both."""

_REMOVING = ("member.removed", "conversation.deleted")
_TOPS = "SELECT id, event_seq, epoch FROM conversation WHERE id = ANY ($1::uuid[])"
_MINE = f"""
SELECT i.id, {visibility.EVENTS_ABOVE} AS above, c.event_seq AS top FROM unnest($2::uuid[]) AS i(id)
CROSS JOIN LATERAL (
    SELECT joined_event_seq FROM member WHERE conversation_id = i.id AND user_id = $1 LIMIT 1
) AS me
JOIN conversation AS c ON c.id = i.id
"""  # noqa: S608  -- constants
# One look-up a stream, each bounded: whoever returns with twenty streams costs one statement.
_AFTER = f"""
SELECT e.conversation_id AS conversation, e.seq AS event_seq_of_line, e.type AS kind, e.payload::text AS payload,
       e.type = 'message.edited' AND {visibility.WITHHELD} AS withheld, {messages.COLUMNS}
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


class Seen(NamedTuple):
    """What a member sees of a conversation's events: those above one number, up to another."""

    above: int
    top: int


class Log:
    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes

    async def tops(self, conversation_ids: Sequence[UUID]) -> dict[UUID, tuple[int, int]]:
        """Number of the last event and epoch of those that exist."""
        rows = await self._lanes.fetch(_TOPS, list(conversation_ids))
        return {row["id"]: (row["event_seq"], row["epoch"]) for row in rows}

    async def visible_to(self, user_id: UUID, conversation_ids: Sequence[UUID]) -> dict[UUID, Seen]:
        """Those of the conversations that the user is a member of, by the database and not by memory."""
        rows = await self._lanes.fetch(_MINE, user_id, list(conversation_ids))
        return {row["id"]: Seen(row["above"], row["top"]) for row in rows}

    async def after(self, wanted: Mapping[UUID, tuple[int, int]]) -> dict[UUID, Run]:
        """Per conversation the events behind the first number up to the second, at most MOST of them."""
        spans = list(wanted.values())
        rows = await self._lanes.fetch(_AFTER, list(wanted), [a for a, _ in spans], [b for _, b in spans])
        grouped: dict[UUID, list[Any]] = {}
        for row in rows:
            grouped.setdefault(row["conversation"], []).append(row)
        return {conversation_id: run_of(group) for conversation_id, group in grouped.items()}

    async def read(self, conversation_id: UUID, after: int, upto: int) -> Run | None:
        runs = await self.after({conversation_id: (after, upto)})
        return runs.get(conversation_id)


def run_of(rows: Sequence[Any]) -> Run:
    """From rows of one conversation in the order of their numbers."""
    lines = [line_of(row) for row in rows]
    gone: list[tuple[int, UUID]] = []
    for row in rows:
        if row["kind"] in _REMOVING:
            gone += removed(row["event_seq_of_line"], row["kind"], frames.load(row["payload"]))
    return Run(rows[0]["event_seq_of_line"], rows[-1]["event_seq_of_line"], lines, tuple(gone))


def removed(seq: int, kind: str, data: Mapping[str, Any]) -> tuple[tuple[int, UUID], ...]:
    """Whose stream an event ends."""
    if kind == "conversation.deleted":
        return ((seq, EVERYBODY),)
    return ((seq, UUID(str(data["user_id"]))),) if kind == "member.removed" else ()


def line_of(row: Any) -> bytes:
    if row["payload"] is None:
        message = messages.shape(row)
        shown = visibility.veil(message) if row["withheld"] else message
        return frames.event(row["conversation"], row["event_seq_of_line"], row["kind"], shown)
    data = row["payload"].encode()
    return frames.event(row["conversation"], row["event_seq_of_line"], row["kind"], data)
