"""What of a conversation a member may see. With history `since_joining`, nothing from before they came; of what they
have deleted for themselves, nothing anywhere.

Whatever shows messages to somebody asks here, in one of two ways:
- a statement that knows the message and looks for its reader adds MINE (with `:user`) to `FROM message AS m`;
- who lists one conversation calls `sight`, which refuses non-members, and shows only `m.seq > sight.above`; of the
  event log only what is above `sight.events_above`.
What is shared by all readers, as the line of an event, must not hold words of a message that some of them may not see:
`WITHHELD` says so of a message, and `veil` takes the words out. A message that quotes or forwards an older one shows
what its sender chose to show.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.errors import NoConversation

_HIDDEN = """EXISTS (
    SELECT 1 FROM hidden_message AS h
    WHERE h.user_id = {} AND h.conversation_id = m.conversation_id AND h.message_id = m.id)"""
# Whether `:user` has deleted a message `m` for themselves.
HIDDEN = _HIDDEN.format(":user")
# Of a message `m`, its conversation `c` and a member `me` of it.
VISIBLE = f"((c.history = 'all' OR m.seq > me.joined_seq) AND NOT {_HIDDEN.format('me.user_id')})"


def mine(user: str) -> str:
    """`user` is the name of the value, as `$1`."""
    return f"""
    JOIN conversation AS c ON c.id = m.conversation_id AND c.deleted_at IS NULL
    JOIN member AS me ON me.conversation_id = m.conversation_id AND me.user_id = {user} AND {VISIBLE}
    """


MINE = mine(":user")
ABOVE = "CASE WHEN c.history = 'all' THEN 0 ELSE me.joined_seq END"
EVENTS_ABOVE = "CASE WHEN c.history = 'all' THEN 0 ELSE me.joined_event_seq END"
# Whether somebody in the conversation of a message `m` came too late to see it.
WITHHELD = """(
    EXISTS (SELECT 1 FROM conversation WHERE id = m.conversation_id AND history = 'since_joining')
    AND EXISTS (SELECT 1 FROM member WHERE conversation_id = m.conversation_id AND joined_seq >= m.seq)
)"""

_SIGHT = text(
    f"SELECT me.role, c.type, {ABOVE} AS above, {EVENTS_ABOVE} AS events_above"  # noqa: S608  -- constants
    " FROM member AS me JOIN conversation AS c ON c.id = me.conversation_id"
    " WHERE me.conversation_id = :id AND me.user_id = :user AND c.deleted_at IS NULL"
)


@dataclass(frozen=True, slots=True)
class Sight:
    """What one member sees of one conversation."""

    conversation_id: UUID
    user_id: UUID
    role: str
    conversation_type: str
    above: int
    """Messages with a greater `seq` are visible."""
    events_above: int
    """The same of events."""


async def sight(db: AsyncSession, user_id: UUID, conversation_id: UUID) -> Sight:
    """Raises NoConversation for who is no member, whether it exists or not."""
    row = (await db.execute(_SIGHT, {"id": conversation_id, "user": user_id})).first()
    if row is None:
        raise NoConversation
    return Sight(conversation_id, user_id, row.role, row.type, row.above, row.events_above)


def veil(message: dict[str, Any]) -> dict[str, Any]:
    """A message for readers of whom some may not see it: who may reads it over HTTP."""
    return {**message, "content": None, "attachments": [], "reply_to": None, "forwarded_from": None, "veiled": True}
