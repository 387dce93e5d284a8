"""A socket of an existing client: the same conversations, events and rules, in another protocol.

These clients never say what they want to follow. Their socket follows all conversations of its user, and hears what
any socket hears; each push is translated before it is written, for this socket alone. Sockets of `chat.v1` pay nothing
for it.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

import structlog

from chat_service.domain import following, frames, greeting
from chat_service.domain.backlog import Parts
from chat_service.domain.closing import (
    EXPIRED,
    FLOOD,
    GOING_AWAY,
    HELLO_TIMEOUT,
    INTERNAL,
    MALFORMED,
    NO_MEMBER,
    REFUSED,
    RESTARTS,
    REVOKED,
    SLOW,
    TOO_LARGE,
    TOO_LONG,
    Close,
)
from chat_service.domain.connections import Connection
from chat_service.domain.sessions import Session
from libs.errors import Forbidden, NotFound, ServiceError, TokenRevoked, Unauthenticated

Push = dict[str, Any]
_PING = b"\x89\x00"
_MOST_FRAMES = 60
_FRAMES_SECONDS = 10.0
_MOST_EARLY = 32
_MOST_WAITING = 2_000

_MINE = """
SELECT m.conversation_id, c.epoch, e.seq
FROM member AS m JOIN conversation AS c ON c.id = m.conversation_id
LEFT JOIN LATERAL (
    SELECT min(seq) - 1 AS seq FROM event
    WHERE conversation_id = m.conversation_id AND created_at >= greatest(m.joined_at, $2)
) AS e ON true
WHERE m.user_id = $1 AND c.deleted_at IS NULL AND NOT m.conversation_id = ANY ($3::uuid[])
ORDER BY coalesce(c.last_message_at, c.created_at) DESC LIMIT $4
"""

log = structlog.get_logger()


def is_whole(message: Mapping[str, Any]) -> bool:
    """Neither deleted nor veiled: clients that know of neither are told of no such message."""
    return not message["deleted_at"] and message["content"] is not None


class GuestSession(Session):
    """What is the same for all of them. A client of its own says how it greets, reads and translates."""

    __slots__ = ("_again", "_draining", "_frames", "_looking", "_since", "_waiting")
    codes: ClassVar[Mapping[Close, Close]] = {
        EXPIRED: REFUSED,
        REVOKED: REFUSED,
        HELLO_TIMEOUT: REFUSED,
        TOO_LARGE: TOO_LONG,
        GOING_AWAY: RESTARTS,
    }

    def __init__(self, wire: Any, context: Any, credential: tuple[str, str] | None) -> None:
        super().__init__(wire, context, credential)
        self._frames: deque[float] = deque(maxlen=_MOST_FRAMES)
        self._waiting: list[Push] = []
        self._draining = False
        self._again = False
        # From the start, so that nothing comes before the greeting.
        self._looking = True
        self._since = context.clock.now()

    # What the client says

    def accepted(self) -> None:
        if self.credential is None:
            self.close(REFUSED)
        else:
            self.identify({})

    def identify(self, said: dict[str, Any]) -> None:
        """Looks at the credential; frames wait meanwhile."""
        self._early = []
        self.context.hub.spawn(self._identify(said))

    async def _identify(self, said: dict[str, Any]) -> None:
        try:
            if await greeting.admit(self, await greeting.identify(self, said)):
                await self.begin()
        except (Unauthenticated, Forbidden) as error:
            self.close(REVOKED if isinstance(error, TokenRevoked) else EXPIRED)
        except NotFound:
            self.close(NO_MEMBER)
        except ServiceError:
            self.close(INTERNAL)
        except Exception:
            log.exception("socket_not_opened")
            self.close(INTERNAL)
        else:
            self.take_early()

    async def begin(self) -> None:
        """The user is known: follows what there is, and greets. Raises ServiceError."""
        rows = await self._mine()
        if len(rows) == self.context.streams_per_socket:
            log.warning("not_all_followed", user_id=str(self.user_id), followed=len(rows))
        wanted: following.Wanted = {f"c:{row['conversation_id']}": None for row in rows}
        await following.follow(self, wanted, lambda _: self.greet())
        self._looking = False
        if self._again:
            self.look_again()

    def greet(self) -> None:
        """Called once, before the first event."""

    def receive(self, data: bytes) -> None:
        self.heard = asyncio.get_running_loop().time()
        if self.closed or self._leaving:
            return
        if len(data) > greeting.MAX_FRAME:
            self.close(TOO_LARGE)
        elif self._floods():
            self.close(FLOOD)
        else:
            self._take(data)

    def receive_binary(self) -> None:
        self.receive(b"")

    def _floods(self) -> bool:
        if len(self._frames) == _MOST_FRAMES and self.heard - self._frames[0] < _FRAMES_SECONDS:
            return True
        self._frames.append(self.heard)
        return False

    def _take(self, line: bytes) -> None:
        if self._early is not None:
            if len(self._early) >= _MOST_EARLY:
                self.close(MALFORMED, reason="too much before the first answer")
            self._early.append(line)
        elif self.open:
            self.take(line)
        else:
            self.take_first(line)

    def take(self, data: bytes) -> None:
        """A frame of a client that is known."""
        raise NotImplementedError

    def take_first(self, data: bytes) -> None:
        """A frame before that."""

    # What the client hears

    def say(self, value: object) -> None:
        Connection.push(self, frames.packet(frames.dump(value)))

    def push(self, packet: bytes) -> None:
        for line in frames.lines(packet):
            self.hear(frames.load(line))

    def push_event(self, packet: bytes, stream: str) -> None:  # noqa: ARG002  -- translated frames are of no stream
        self.push(packet)

    def push_state(self, packet: bytes, parts: Parts) -> None:  # noqa: ARG002  -- and replace one another in no backlog
        self.push(packet)

    def push_ephemeral(self, packet: bytes) -> None:
        self.push(packet)

    def hear(self, push: Push) -> None:
        """Something that a socket of `chat.v1` would be told."""
        kind = push.get("t")
        if kind == "hb":
            Connection.push(self, _PING)
            self.look_again()
        elif kind == "conversation.joined":
            self.look_again()
        if kind in self.translated:
            self._waiting.append(push)
            if len(self._waiting) > _MOST_WAITING:
                self.close(SLOW)
            elif not self._draining:
                self._draining = True
                self.context.hub.spawn(self._drain())

    translated: ClassVar[frozenset[str]] = frozenset()

    async def _drain(self) -> None:
        try:
            while self._waiting and not self.closed:
                batch, self._waiting = self._waiting, []
                for frame in await self.translate(batch):
                    self.say(frame)
                self._note_delivered(batch)
        except Exception as error:
            # What was not translated is lost: the client comes back and reads what there is.
            if not isinstance(error, ServiceError):
                log.exception("push_not_translated")
            self.close(INTERNAL)
        finally:
            self._draining = False

    def _note_delivered(self, pushes: Sequence[Push]) -> None:
        """These clients do not say it themselves."""
        for push in pushes:
            message = push["d"] if push["t"] == "message.new" else None
            if message is not None and message["sender"]["id"] != str(self.user_id):
                self.context.receipts.deliver(UUID(message["conversation_id"]), self.user_id, message["seq"])

    async def translate(self, pushes: Sequence[Push]) -> list[object]:
        """Frames of this client, in the same order. May ask the database, once for all of them."""
        raise NotImplementedError

    def look_again(self) -> None:
        """For conversations that the user came into since: the news of it may get lost."""
        self._again = True
        if not self._looking:
            self._looking = True
            self.context.hub.spawn(self._look())

    async def _look(self) -> None:
        try:
            while self._again and not self.closed:
                self._again = False
                await self._follow_new()
        except ServiceError:
            # The next heartbeat looks again.
            log.warning("conversations_not_looked_for")
        finally:
            self._looking = False

    async def _follow_new(self) -> None:
        wanted: following.Wanted = {}
        for row in await self._mine(tuple(stream.conversation_id for stream in self.streams.values())):
            # From its first event that this socket could have heard, so that nothing falls between.
            position = None if row["seq"] is None else (row["epoch"], row["seq"])
            wanted[f"c:{row['conversation_id']}"] = position
        if wanted and not self.closed:
            await following.follow(self, wanted, lambda _: None)

    async def _mine(self, but: Sequence[UUID] = ()) -> list[Any]:
        most = max(0, self.context.streams_per_socket - len(self.streams))
        rows = await self.context.lanes.fetch(_MINE, self.user_id, self._since, list(but), most)
        return list(rows)

    # The end

    def close(self, why: Close, *, retry_ms: int = 0, reason: str = "") -> None:
        super().close(self.codes.get(why, why), retry_ms=retry_ms, reason=reason)

    def take_leave(self, why: Close, retry_ms: int) -> None:
        """Nothing: these clients know no such word."""
