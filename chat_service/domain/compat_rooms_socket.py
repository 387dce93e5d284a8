"""The Rooms client: integers for ids, and a socket for each conversation."""

from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import UUID

from chat_service.domain import following, frames
from chat_service.domain.closing import NO_MEMBER
from chat_service.domain.compat_rooms import number_in
from chat_service.domain.compat_sessions import GuestSession, Push, is_whole
from chat_service.domain.drafts import Draft, Extras, Stored
from chat_service.domain.messages import MAX_CHARS
from chat_service.errors import NoConversation
from libs.errors import RateLimited, ServiceError

TOO_FAST = "You are sending messages too fast. Please wait a moment."
_NOT_READABLE = "Invalid message format."
_EMPTY = "Message cannot be empty."
_TOO_LONG = "Message is too long."

_MINE = """
SELECT c.id FROM conversation AS c JOIN member AS m ON m.conversation_id = c.id AND m.user_id = $2
WHERE c.number = $1 AND c.deleted_at IS NULL
"""
_NUMBERS = "SELECT user_id, number FROM profile WHERE user_id = ANY ($1::uuid[])"


class RoomsSession(GuestSession):
    """One conversation; its frames are bare objects."""

    __slots__ = ("_conversation_id", "_number", "_numbers")
    translated: ClassVar[frozenset[str]] = frozenset({"message.new"})

    def __init__(self, number: str, wire: Any, context: Any, credential: tuple[str, str] | None) -> None:
        super().__init__(wire, context, credential)
        self._number = number
        self._conversation_id = UUID(int=0)
        # Of users, by their ids.
        self._numbers: dict[str, int] = {}

    async def begin(self) -> None:
        rows = await self.context.lanes.fetch(_MINE, number_in(self._number), self.user_id)
        if not rows:
            raise NoConversation
        self._conversation_id = rows[0]["id"]
        key = f"c:{self._conversation_id}"
        await following.follow(self, {key: None}, lambda _: None)
        if key not in self.streams:
            raise NoConversation

    def look_again(self) -> None:
        """Nothing: this socket is for one conversation."""

    def removed_from(self, key: str) -> None:
        self.streams.pop(key, None)
        self.close(NO_MEMBER)

    def take(self, data: bytes) -> None:
        try:
            frame = frames.load(data)
        except ValueError:
            frame = None
        content = frame.get("message") if type(frame) is dict else None
        if type(content) is not str or "\x00" in content:
            self._refuse(_NOT_READABLE)
        elif not content or content.isspace():
            self._refuse(_EMPTY)
        elif len(content) > MAX_CHARS or len(content.encode()) > self.context.message_max_bytes:
            self._refuse(_TOO_LONG)
        else:
            self._send(content)

    def _send(self, content: str) -> None:
        try:
            self.context.send_allowed(self.user_id, self._conversation_id)
        except RateLimited:
            self._refuse(TOO_FAST)
            return
        gap = self.context.rooms_gap_seconds
        self.began()
        self.context.writer.submit(
            Draft(
                conversation_id=self._conversation_id,
                sender_id=self.user_id,
                content=content,
                client_msg_id=None,
                reply_to=None,
                done=self._sent,
                extras=Extras(gap_seconds=gap) if gap else None,
            )
        )

    def _sent(self, outcome: Stored | ServiceError) -> None:
        """What was stored comes back as to everybody."""
        if isinstance(outcome, RateLimited):
            self._refuse(TOO_FAST)
        elif isinstance(outcome, NoConversation):
            self.close(NO_MEMBER)
        elif isinstance(outcome, ServiceError):
            self._refuse(outcome.detail)
        self.ended()

    def _refuse(self, text: str) -> None:
        self.say({"error": text})

    async def translate(self, pushes: Sequence[Push]) -> list[object]:
        messages = [push["d"] for push in pushes if is_whole(push["d"])]
        unknown = {m["sender"]["id"] for m in messages} - self._numbers.keys()
        if unknown:
            rows = await self.context.lanes.fetch(_NUMBERS, [UUID(user_id) for user_id in unknown])
            self._numbers |= {str(row["user_id"]): row["number"] for row in rows}
        return [
            {
                "message_id": message["seq"],
                "message": message["content"],
                "sender_id": self._numbers.get(message["sender"]["id"], 0),
                "sender": message["sender"]["username"],
                "timestamp": message["created_at"],
            }
            for message in messages
        ]
