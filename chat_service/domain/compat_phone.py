"""The Phone client's socket: one connection, several streams, each frame `{stream, payload}`."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

from chat_service.domain import following, frames, messages, ops, overview
from chat_service.domain.closing import GOING_AWAY, NO_MEMBER, Close
from chat_service.domain.compat_sessions import GuestSession, Push
from chat_service.domain.drafts import extras_of
from chat_service.domain.presence import OFFLINE
from chat_service.domain.requests import NotSubscribed, Request, required_uuid, text_of, uuid_of
from chat_service.errors import NoConversation, invalid
from libs.errors import BadRequest, Invalid, NotFound, ServiceError, Unauthenticated
from libs.ids import uuid7

Payload = dict[str, Any]
_NAMES = ("auth", "chat", "presence", "interest", "notification", "system")
_MOST_WATCHED = 200
_MOST_OWN = 64
_STREAM_OF = {"read": "chat", "typing": "chat", "watch": "presence", "auth": "auth", "notification": "notification"}


class UnknownStream(BadRequest):
    code = "unknown_stream"
    detail = "There is no such stream."


class UnknownType(BadRequest):
    code = "unknown_type"
    detail = "There is no such type in this stream."


class PhoneSession(GuestSession):
    """Answers and rules are those of `chat.v1`; only the words differ."""

    __slots__ = ("_own",)
    codes: ClassVar[Mapping[Close, Close]] = {}
    translated: ClassVar[frozenset[str]] = frozenset(
        {"message.new", "message.edited", "message.deleted", "receipt", "typing", "presence", "interest"}
        | {"notification.new"}
    )

    def __init__(self, wire: Any, context: Any, credential: tuple[str, str] | None) -> None:
        super().__init__(wire, context, credential)
        # Of the last messages sent here their `client_msg_id`: they are told of by `sent`, not once more.
        self._own: deque[str] = deque(maxlen=_MOST_OWN)

    def accepted(self) -> None:
        if self.credential is not None:
            self.identify({})

    def take_first(self, data: bytes) -> None:
        stream, payload = _read(data)
        if stream == "auth" and payload is not None and payload.get("type") == "token":
            self.identify({"token": payload.get("token")})
        else:
            self.error("auth", Unauthenticated())

    def greet(self) -> None:
        self.tell("auth", {"type": "ready", "user_id": self.user_id, "streams": _NAMES})

    def take(self, data: bytes) -> None:
        stream, payload = _read(data)
        if payload is None:
            self.error("system", invalid("payload", "A frame is an object with stream and payload."))
        elif stream not in _NAMES:
            self.error("system", UnknownStream())
        else:
            self.do(stream, payload)

    def do(self, stream: str, payload: Payload) -> None:
        work = _WORK.get((stream, str(payload.get("type"))))
        try:
            if work is None:
                raise UnknownType
            work(self, payload)
        except ServiceError as error:
            self.error(stream, error, payload.get("client_id"))

    def request(self, op: str, payload: Payload, data: dict[str, Any]) -> None:
        """As if a client of `chat.v1` had asked."""
        conversation = payload.get("conversation_id")
        stream = f"c:{conversation}" if type(conversation) is str else None
        asked = Request(0, op, stream, data)
        work = ops.OPS[op](self, asked)
        if work is not None:
            self.run(asked, work)

    def reply(self, request: Request, result: Any) -> None:
        """Only what was asked for by `auth` and `watch` is answered."""
        if request.op == "auth":
            self.greet()
        elif request.op == "watch":
            for user in result["users"]:
                self.tell("presence", _presence_of(user))

    def refuse(self, request: Request, error: ServiceError) -> None:
        self.error(_STREAM_OF.get(request.op, "system"), error)

    def send(self, payload: Payload) -> None:
        client_id = payload.get("client_id")
        extras = extras_of(payload)
        content = "" if messages.may_be_blank(extras) and "content" not in payload else text_of(payload, "content")
        own_id = uuid_of(payload, "client_id") or uuid7()
        draft = messages.Text(content, own_id, uuid_of(payload, "reply_to"), extras)
        conversation_id = following.conversation_of(f"c:{payload.get('conversation_id')}")
        self._own.append(str(own_id))
        self.began()
        self.context.hub.spawn(self._send(conversation_id, draft, client_id))

    async def _send(self, conversation_id: UUID, draft: messages.Text, client_id: object) -> None:
        try:
            message = await overview.send(self.context, self.user_id, conversation_id, draft)
            self.tell("chat", {"type": "sent", "client_id": client_id, "message": message})
        except ServiceError as error:
            self.error("chat", error, client_id)
        finally:
            self.ended()

    def error(self, stream: str, error: ServiceError, client_id: object = None) -> None:
        if isinstance(error, NotSubscribed):
            error = NoConversation()
        text = error.errors[0].message if isinstance(error, Invalid) and error.errors else error.detail
        said: Payload = {"type": "error", "code": error.code, "message": text}
        if type(client_id) is str:
            said["client_id"] = client_id
        self.tell(stream, said)

    def hear(self, push: Push) -> None:
        if push.get("t") == "auth.expiring":
            seconds = max(0, push["d"]["exp"] - int(self.context.clock.seconds()))
            self.tell("auth", {"type": "expiring", "expires_in": seconds})
        else:
            super().hear(push)

    async def translate(self, pushes: Sequence[Push]) -> list[object]:
        said: list[object] = []
        for push in pushes:
            stream, translate = _PUSHES[push["t"]]
            if not self._is_own(push):
                said += [self.framed(stream, payload) for payload in translate(push)]
        return said

    def _is_own(self, push: Push) -> bool:
        """Whether `sent` has said it, or will."""
        message = push["d"] if push["t"] == "message.new" else {}
        return message.get("client_msg_id") in self._own and message["sender"]["id"] == str(self.user_id)

    def framed(self, stream: str, payload: Payload) -> object:
        return {"stream": stream, "payload": payload}

    def read_notification(self, payload: Payload) -> None:
        self.run(Request(0, "notification", None, {}), self._read_notification(required_uuid(payload, "id")))

    async def _read_notification(self, notification_id: UUID) -> None:
        if not await self.context.read_notification(self.user_id, notification_id):
            raise NotFound

    def tell(self, stream: str, payload: Payload) -> None:
        if not self.closed:
            self.say(self.framed(stream, payload))

    def take_leave(self, why: Close, retry_ms: int) -> None:
        if why is GOING_AWAY:
            self.tell("system", {"type": "restart", "retry_ms": retry_ms})


class BoundSession(PhoneSession):
    """The stream `chat` of one conversation: its payloads alone. For clients of the Platform."""

    __slots__ = ("_conversation_id",)
    codes: ClassVar[Mapping[Close, Close]] = GuestSession.codes
    translated: ClassVar[frozenset[str]] = frozenset(
        {"message.new", "message.edited", "message.deleted", "receipt", "typing"}
    )

    def __init__(self, conversation_id: UUID, wire: Any, context: Any, credential: tuple[str, str] | None) -> None:
        super().__init__(wire, context, credential)
        self._conversation_id = conversation_id

    def accepted(self) -> None:
        GuestSession.accepted(self)

    async def begin(self) -> None:
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
        payload = _object(data)
        if payload is None:
            self.error("chat", invalid("payload", "A frame is an object."))
        else:
            self.do("chat", {**payload, "conversation_id": str(self._conversation_id)})

    def framed(self, stream: str, payload: Payload) -> object:  # noqa: ARG002  -- there is one
        return payload

    def take_leave(self, why: Close, retry_ms: int) -> None:
        """Nothing: this socket has no stream for it."""


def _read(data: bytes) -> tuple[object, Payload | None]:
    frame = _object(data) or {}
    payload = frame.get("payload")
    return frame.get("stream"), payload if type(payload) is dict else None


def _object(data: bytes) -> Payload | None:
    try:
        value = frames.load(data)
    except ValueError:
        return None
    return value if type(value) is dict else None


def _mark_read(session: PhoneSession, payload: Payload) -> None:
    session.request("read", payload, {"seq": payload.get("seq")})


def _type(session: PhoneSession, payload: Payload) -> None:
    session.request("typing", payload, {"on": payload.get("is_typing", True)})


def _watch(session: PhoneSession, payload: Payload) -> None:
    listed = payload.get("user_ids")
    if isinstance(listed, list) and len(listed) > _MOST_WATCHED:
        raise invalid("user_ids", f"This must be a list of at most {_MOST_WATCHED} users.")
    session.request("watch", payload, {"user_ids": listed})


def _renew(session: PhoneSession, payload: Payload) -> None:
    session.request("auth", payload, {"token": payload.get("token")})


def _pong(session: PhoneSession, payload: Payload) -> None:
    session.tell("system", {"type": "pong", "timestamp": payload.get("timestamp")})


_WORK: dict[tuple[str, str], Callable[[PhoneSession, Payload], None]] = {
    ("auth", "token"): _renew,
    ("chat", "send"): PhoneSession.send,
    ("chat", "read"): _mark_read,
    ("chat", "typing"): _type,
    ("notification", "read"): PhoneSession.read_notification,
    ("presence", "watch"): _watch,
    ("system", "ping"): _pong,
}


def _about_message(kind: str) -> Callable[[Push], list[Payload]]:
    def translate(push: Push) -> list[Payload]:
        return [{"type": kind, "message": push["d"]}]

    return translate


def _typing(push: Push) -> list[Payload]:
    said = push["d"]
    about = {"conversation_id": push["s"][2:], "user_id": said["user_id"]}
    return [{"type": "typing", **about, "is_typing": said["on"]}]


def _receipts(push: Push) -> list[Payload]:
    """Of large groups only counts are told, which this client has no word for."""
    said = []
    for user_id, marks in push["d"].get("members", {}).items():
        about = {"type": "receipt", "conversation_id": push["s"][2:], "user_id": user_id}
        said += [{**about, "seq": seq, "status": status} for status, seq in marks.items() if seq]
    return said


def _presence_of(user: dict[str, Any]) -> Payload:
    about = {"user_id": user["user_id"], "is_online": user["state"] != OFFLINE}
    return {"type": "presence", **about, "last_seen": user["last_seen_at"]}


def _presence(push: Push) -> list[Payload]:
    return [_presence_of(user) for user in push["d"]["changes"]]


def _notification(push: Push) -> list[Payload]:
    return [{"type": "notification", **push["d"]}]


def _interest(push: Push) -> list[Payload]:
    return [{"type": "interest", **push["d"]}]


_PUSHES: dict[str, tuple[str, Callable[[Push], list[Payload]]]] = {
    "message.new": ("chat", _about_message("message")),
    "message.edited": ("chat", _about_message("edited")),
    "message.deleted": ("chat", _about_message("deleted")),
    "receipt": ("chat", _receipts),
    "typing": ("chat", _typing),
    "presence": ("presence", _presence),
    "interest": ("interest", _interest),
    "notification.new": ("notification", _notification),
}
