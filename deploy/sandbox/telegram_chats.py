"""The people, groups and channels at the other end of a Telegram bot, and how fast they may be written to."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from deploy.sandbox.clocks import MovableClock
from libs.clock import Clock

GROUPS = frozenset({"group", "supergroup", "channel"})
KINDS = GROUPS | {"private"}
KEPT = 1_000


class Refused(Exception):
    """A request that Telegram refuses, in its words."""

    def __init__(self, status: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.status = status
        self.description = description
        self.parameters: Mapping[str, int] = parameters


@dataclass(slots=True)
class Chat:
    id: int
    kind: str
    name: str
    username: str | None = None
    refusal: str | None = None
    """Why the bot may not write here, as Telegram says it."""
    moved_to: int | None = None
    messages: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT))
    last: int = 0
    sent: deque[float] = field(default_factory=deque)

    def as_json(self) -> dict[str, Any]:
        """Telegram's Chat object."""
        name = {"first_name": self.name} if self.kind == "private" else {"title": self.name}
        username = {"username": self.username} if self.username else {}
        return {"id": self.id, "type": self.kind, **name, **username}

    def message(self, number: int) -> dict[str, Any] | None:
        return next((each for each in self.messages if each["message_id"] == number), None)

    def add(self, at: int, **content: Any) -> dict[str, Any]:
        self.last += 1
        added = {"message_id": self.last, "date": at, "chat": self.as_json(), **content}
        self.messages.append(added)
        return added


class Chats:
    """By id and name. A private chat is there from the moment its person has pressed Start."""

    def __init__(self, clock: Clock) -> None:
        self.clock = MovableClock(clock)
        self._chats: dict[int, Chat] = {}
        self._sent: deque[float] = deque()

    def all(self) -> list[Chat]:
        return list(self._chats.values())

    def make(self, chat_id: int, kind: str, name: str, username: str | None = None) -> Chat:
        """The chat of that id, as it is if there is one."""
        return self._chats.setdefault(chat_id, Chat(chat_id, kind, name, username))

    def get(self, chat_id: int) -> Chat | None:
        return self._chats.get(chat_id)

    def find(self, given: Any) -> Chat:
        """Where a message goes. Raises Refused."""
        found = next((chat for chat in self._chats.values() if _named(chat, given)), None)
        if found is None:
            raise Refused(400, "Bad Request: chat not found")
        if found.moved_to is not None:
            words = "Bad Request: group chat was upgraded to a supergroup chat"
            raise Refused(400, words, migrate_to_chat_id=found.moved_to)
        if found.refusal is not None:
            raise Refused(403, f"Forbidden: {found.refusal}")
        return found

    def migrate(self, chat: Chat) -> Chat:
        """A group becomes a supergroup, which has another id."""
        chat.moved_to = -1_000_000_000_000 + chat.id
        return self.make(chat.moved_to, "supergroup", chat.name)

    def count(self, chat: Chat) -> None:
        """One more message. Raises Refused where it is one too many: 30 a second in all; one a second to a person, of
        which a few may come at once; 20 a minute in a group (https://core.telegram.org/bots/faq, read 2026-11)."""
        now = self.clock.seconds()
        rules = [(self._sent, 30, 1.0)]
        rules.append((chat.sent, 20, 60.0) if chat.kind in GROUPS else (chat.sent, 3, 3.0))
        for sent, most, within in rules:
            while sent and sent[0] <= now - within:
                sent.popleft()
            if len(sent) >= most:
                wait = max(1, ceil(sent[0] + within - now))
                raise Refused(429, f"Too Many Requests: retry after {wait}", retry_after=wait)
        self._sent.append(now)
        chat.sent.append(now)


def _named(chat: Chat, given: Any) -> bool:
    if isinstance(given, str) and given.startswith("@"):
        return chat.kind != "private" and (chat.username or "").casefold() == given[1:].casefold()
    return str(chat.id) == str(given)
