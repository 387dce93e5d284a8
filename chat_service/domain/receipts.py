"""How far a member has read: one number that only moves forward."""

from dataclasses import dataclass
from uuid import UUID

from chat_service.domain.hub import Hub
from chat_service.errors import NoConversation
from libs.lanes import Lanes

_ADVANCE = """
WITH before AS MATERIALIZED (
    SELECT m.last_read_seq, c.message_seq FROM conversation AS c
    JOIN member AS m ON m.conversation_id = c.id AND m.user_id = $2
    WHERE c.id = $1
),
moved AS (
    UPDATE member AS m SET last_read_seq = least($3::bigint, before.message_seq) FROM before
    WHERE m.conversation_id = $1 AND m.user_id = $2 AND m.last_read_seq < least($3::bigint, before.message_seq)
    RETURNING m.last_read_seq
)
SELECT message_seq, coalesce((SELECT last_read_seq FROM moved), last_read_seq) AS last_read_seq,
       EXISTS (SELECT 1 FROM moved) AS moved
FROM before
"""


@dataclass(frozen=True, slots=True)
class Watermark:
    conversation_id: UUID
    last_read_seq: int
    unread_count: int


async def advance(lanes: Lanes, hub: Hub, user_id: UUID, conversation_id: UUID, *, seq: int) -> Watermark:
    """Moves the watermark up to `seq`, never back and never beyond the last message; tells the user's other sockets.

    Raises NoConversation for who is not a member.
    """
    rows = await lanes.fetch(_ADVANCE, conversation_id, user_id, seq)
    if not rows:
        raise NoConversation
    row = rows[0]
    mark = Watermark(conversation_id, row["last_read_seq"], max(0, row["message_seq"] - row["last_read_seq"]))
    if row["moved"]:
        data = {"conversation_id": conversation_id, "seq": mark.last_read_seq, "unread_count": mark.unread_count}
        hub.publish_to_user(user_id, "read", data)
    return mark
