"""The Hub client's socket: `{event, data}` with keys in camel case, about all conversations at once."""

from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import UUID

from chat_service.domain import frames, unread
from chat_service.domain.compat_sessions import GuestSession, Push, is_whole

_PLATFORM = "parley"
_CONVERSATIONS = f"""
SELECT c.id, c.type, c.name, c.image_url, c.created_at, c.updated_at,
       coalesce(c.last_message_at, c.created_at) AS active_at, {unread.COUNT} AS unread_count,
       o.user_id AS other_id, p.display_name, p.avatar_url
FROM conversation AS c JOIN member AS me ON me.conversation_id = c.id AND me.user_id = $1
LEFT JOIN LATERAL (
    SELECT user_id FROM member WHERE c.type = 'direct' AND conversation_id = c.id AND user_id <> $1 LIMIT 1
) AS o ON true
LEFT JOIN profile AS p ON p.user_id = o.user_id
WHERE c.id = ANY ($2::uuid[])
"""  # noqa: S608  -- constants
# Of one's own messages those that a mark has reached since the last one.
_REACHED = """
SELECT id FROM message WHERE conversation_id = $1 AND sender_id = $2 AND seq > $3 AND seq <= $4 AND deleted_at IS NULL
ORDER BY seq DESC LIMIT 100
"""
_CHANGES = frozenset({"conversation.changed", "member.added", "member.removed", "member.changed"})


class HubSession(GuestSession):
    __slots__ = ("_reached",)
    translated: ClassVar[frozenset[str]] = frozenset(
        {"message.new", "receipt", "read", "conversation.joined"} | _CHANGES
    )

    def __init__(self, wire: Any, context: Any, credential: tuple[str, str] | None) -> None:
        super().__init__(wire, context, credential)
        # How far others have got or read, as this client was told: by conversation and status.
        self._reached: dict[tuple[str, str], int] = {}

    def greet(self) -> None:
        email = self.claims.values.get("email") if self.claims else None
        self._tell("authenticated", {"userId": self.user_id, "email": email, "realtime": True})

    def take(self, data: bytes) -> None:
        try:
            frame = frames.load(data)
        except ValueError:
            frame = None
        if type(frame) is dict and frame.get("event") == "ping":
            self.say({"event": "pong", "timestamp": frame.get("timestamp")})
        else:
            text = "The message could not be read."
            self._tell("error", {"error": text, "code": "INVALID_MESSAGE", "message": text, "timestamp": self._now()})

    async def translate(self, pushes: Sequence[Push]) -> list[object]:
        about = {_conversation_of(push) for push in pushes}
        rows = await self.context.lanes.fetch(_CONVERSATIONS, self.user_id, [UUID(each) for each in about])
        conversations = {str(row["id"]): self._conversation(row) for row in rows}
        said: list[object] = []
        for push in pushes:
            # Gone meanwhile: what happened there is this user's business no more.
            conversation = conversations.get(_conversation_of(push))
            if conversation is not None:
                said += await self._status(push) if push["t"] == "receipt" else self._event(push, conversation)
        if any(push["t"] in ("message.new", "read") for push in pushes):
            said.append(await self._unread())
        return said

    async def _status(self, push: Push) -> list[object]:
        """The first of the others counts: this client knows no more than one."""
        said: list[object] = []
        for status in ("delivered", "read"):
            about = _conversation_of(push)
            members = push["d"].get("members", {})
            seq = max((marks[status] for user_id, marks in members.items() if user_id != str(self.user_id)), default=0)
            before = self._reached.get((about, status), 0)
            if seq > before:
                self._reached[about, status] = seq
                rows = await self.context.lanes.fetch(_REACHED, UUID(about), self.user_id, before, seq)
                said += [self._status_of(str(row["id"]), about, status) for row in reversed(rows)]
        return said

    def _status_of(self, message_id: str, conversation_id: str, status: str) -> object:
        data = {"messageId": message_id, "conversationId": conversation_id, "status": status, "timestamp": self._now()}
        return {"event": "message_status_update", "data": data}

    def _event(self, push: Push, conversation: dict[str, Any]) -> list[object]:
        if push["t"] == "read":
            return []
        if push["t"] != "message.new":
            data: dict[str, Any] = {"conversation": conversation}
            return [{"event": "conversation_update", "data": {**data, "timestamp": self._now()}}]
        if not is_whole(push["d"]):
            return []
        data = {"message": self._message(push["d"]), "conversation": conversation}
        return [{"event": "new_message", "data": {**data, "timestamp": self._now()}}]

    async def _unread(self) -> object:
        count = (await unread.total(self.context.lanes, self.user_id, self.context.clock.now()))["total_unread"]
        data = {"unreadCounts": {_PLATFORM: count}, "totalUnread": count, "timestamp": self._now()}
        return {"event": "unread_count_update", "data": data}

    def _message(self, message: dict[str, Any]) -> dict[str, Any]:
        sender = message["sender"]
        files = message["attachments"]
        return {
            "id": message["id"],
            "conversationId": message["conversation_id"],
            "platformMessageId": message["id"],
            "senderId": sender["id"],
            "senderName": sender["display_name"],
            "content": message["content"],
            "messageType": message["message_type"],
            "mediaUrl": files[0].get("url") if files else None,
            "isOutgoing": sender["id"] == str(self.user_id),
            "isRead": False,
            "sentAt": message["created_at"],
            "deliveredAt": None,
            "createdAt": message["created_at"],
        }

    def _conversation(self, row: Any) -> dict[str, Any]:
        """As this user sees it: the other one of two people, or the group itself."""
        direct = row["type"] == "direct"
        name = str(row["id"])
        return {
            "id": name,
            "accountId": self.user_id,
            "platform": _PLATFORM,
            "platformConversationId": name,
            "participantName": (row["display_name"] or "") if direct else row["name"],
            "participantId": str(row["other_id"]) if direct else name,
            "participantAvatarUrl": row["avatar_url"] if direct else row["image_url"],
            "lastMessageAt": row["active_at"],
            "unreadCount": row["unread_count"],
            "createdAt": row["created_at"],
            "updatedAt": row["updated_at"],
        }

    def _tell(self, event: str, data: dict[str, Any]) -> None:
        self.say({"event": event, "data": data})

    def _now(self) -> object:
        return self.context.clock.now()


def _conversation_of(push: Push) -> str:
    stream: str = push["s"]
    return stream[2:] if stream.startswith("c:") else push["d"]["conversation_id"]
