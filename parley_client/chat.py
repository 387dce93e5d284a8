"""A connection that stays, and conversations that are followed without a hole.

The socket may end at any moment and anywhere: `Chat` comes back, with a random and growing delay, to whatever server
answers, and says where it stood in each conversation. What it missed is replayed; when that is too much, the newest
page is read again. A message is sent until it is acknowledged, under the same `client_msg_id`: stored once.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterable
from typing import Any, Self
from uuid import uuid4

import httpx2

from parley_client.api import Api, ApiError, Token
from parley_client.local_copy import LocalCopy
from parley_client.sockets import ChatClient, Closed, Frame, Refused

_GAP_SECONDS = 0.3
_SHORTEST, _LONGEST = 0.5, 30.0
_SILENT_SECONDS = 35.0
_FATAL = 4500
_EXPIRED = 4401
_TROUBLE = (Closed, Refused, ApiError, httpx2.HTTPError, OSError, TimeoutError)
_jitter = secrets.SystemRandom().uniform

Change = Callable[[str, str, Any], None]


class Conversation:
    """An exact copy of one conversation, as far as its own member may see it."""

    def __init__(self, chat: "Chat", conversation_id: str) -> None:
        self.id = conversation_id
        self.key = f"c:{conversation_id}"
        self.copy: LocalCopy | None = None
        """None until it was read for the first time."""
        self.gone: str | None = None
        """Why it cannot be followed any more."""
        self.failure: ApiError | None = None
        self.reloads = 0
        self.replays = 0
        self._chat = chat
        self._early: dict[int, Frame] = {}
        self._mender: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._fetching: set[asyncio.Task[None]] = set()

    def take(self, frame: Frame) -> None:
        """One push of this stream."""
        kind = frame["t"]
        if "q" in frame:
            self._early[frame["q"]] = frame
            self._advance()
        elif kind == "gone":
            self.gone = frame.get("d", {}).get("reason", "gone")
            self._chat.changed(self.key, kind, frame.get("d"))
        elif kind == "resync":
            self.mend()
        else:
            self._chat.changed(self.key, kind, frame.get("d"))

    def expect(self, top: int) -> None:
        """The server says that the stream stands at `top`."""
        if self.copy is not None and top > self.copy.seq:
            self._wait()

    def outcome(self, said: Frame) -> None:
        """What the server answered to following it, or to coming back."""
        if "err" in said:
            if said["err"]["code"] == "not_found":
                self.gone = "not_found"
        elif said["limited"] or (self.copy is not None and said["epoch"] != self.copy.epoch):
            self.mend(reload=True)

    def mend(self, *, reload: bool = False) -> None:
        """Follows anew from the position, or from a fresh copy; one attempt at a time."""
        if self._mender is None or self._mender.done():
            self._mender = asyncio.get_running_loop().create_task(self._mend(reload=reload))

    async def mended(self) -> None:
        """Waits until nothing is being mended."""
        while self._mender is not None and not self._mender.done():
            await asyncio.wait([self._mender])

    def stop(self) -> None:
        for task in (self._mender, self._timer, *self._fetching):
            if task is not None:
                task.cancel()

    def _advance(self) -> None:
        if self.copy is None:
            return
        while self._early and (first := min(self._early)) <= self.copy.seq + 1:
            frame = self._early.pop(first)
            if first > self.copy.seq:
                self.copy.apply(first, frame["t"], frame["d"])
                if frame["d"].get("veiled") and frame["d"]["id"] in self.copy.messages:
                    self._unveil(frame["d"]["id"])
                self._chat.changed(self.key, frame["t"], frame["d"])
        if self._early:
            self._wait()

    def _unveil(self, message_id: str) -> None:
        task = asyncio.get_running_loop().create_task(self._fetch(message_id))
        self._fetching.add(task)
        task.add_done_callback(self._fetching.discard)

    async def _fetch(self, message_id: str) -> None:
        try:
            message = await self._chat.api.call("GET", f"/api/v1/messages/{message_id}")
        except _TROUBLE:
            self.mend(reload=True)
        else:
            if self.copy is not None:
                self.copy.replace(message)

    def _wait(self) -> None:
        """What is missing may be on its way."""
        if self._timer is None and self.copy is not None:
            self._timer = asyncio.get_running_loop().call_later(_GAP_SECONDS, self._look, self.copy.seq)

    def _look(self, before: int) -> None:
        self._timer = None
        if self.copy is not None and self.copy.seq == before:
            self.mend()
        elif self._early:
            self._wait()

    async def _mend(self, *, reload: bool) -> None:
        attempt = 0
        while self.gone is None:
            try:
                reload = await self._follow_anew(reload=reload)
                if not reload:
                    return
            except ApiError as error:
                self.failure = error
                if error.status in (403, 404):
                    self.gone = error.code
            except _TROUBLE:
                pass
            attempt += 1
            await asyncio.sleep(_jitter(0, min(_LONGEST, 0.05 * 2.0 ** min(attempt, 10))))

    async def _follow_anew(self, *, reload: bool) -> bool:
        """Whether the copy is too old to go on from."""
        client = await self._chat.connected()
        await client.request("unsub", data={"streams": [self.key]})
        self._early.clear()
        if reload or self.copy is None:
            self.copy = await LocalCopy.read(self._chat.api, self.id)
            self.reloads += 1
        else:
            self.replays += 1
        said = (await client.sub(resume={self.key: (self.copy.epoch, self.copy.seq)}))[self.key]
        if "err" in said:
            raise Refused(said["err"])
        return bool(said["limited"])


class Chat:
    """`url` is that of the gateway, or of a process of chat; `token` gives access tokens."""

    def __init__(self, url: str, token: Token, *, socket_url: str | None = None) -> None:
        self.api = Api(url, token)
        self.socket_url = socket_url or url.replace("http", "ws", 1) + "/ws"
        self.conversations: dict[str, Conversation] = {}
        self.user_id = ""
        self.on_change: Change = lambda _stream, _kind, _data: None
        """Called with stream, kind and data of everything that is new."""
        self.ended: Closed | None = None
        """Why it will not come back: the session is over, or this client is not wanted."""
        self.connects = 0
        self._token = token
        self._client: ChatClient | None = None
        self._ready = asyncio.Event()
        self._retry_ms: int | None = None
        self._stale = False
        self._run: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._run = asyncio.create_task(self._stay())
        return self

    async def __aexit__(self, *_: object) -> None:
        for conversation in self.conversations.values():
            conversation.stop()
        if self._run is not None:
            self._run.cancel()
            await asyncio.wait([self._run])
        if self._client is not None:
            with contextlib.suppress(Exception):
                await self._client.close()
        await self.api.close()

    async def connected(self) -> ChatClient:
        """The socket that is open, or the next one. Raises Closed when there will be none."""
        while True:
            if self.ended is not None:
                raise self.ended
            if self._client is not None and self._ready.is_set() and self._client.closed is None:
                return self._client
            self._ready.clear()
            await self._ready.wait()

    async def follow(self, conversation_id: str) -> Conversation:
        """Returns with a copy that is kept exact from now on. Raises ApiError, with 404 for who is no member."""
        conversation = Conversation(self, str(conversation_id))
        self.conversations[conversation.key] = conversation
        conversation.mend(reload=True)
        await conversation.mended()
        if conversation.gone is not None:
            del self.conversations[conversation.key]
            raise conversation.failure or ApiError(404, {"code": conversation.gone})
        return conversation

    async def send(self, conversation_id: str, content: str, **more: Any) -> Frame:
        """The acknowledgement: the message is stored, once. Raises Refused for what will not be accepted."""
        data = {"client_msg_id": str(uuid4()), **more, "content": content}
        return await self.ask("send", f"c:{conversation_id}", data)

    async def ask(self, op: str, stream: str | None = None, data: Frame | None = None) -> Frame:
        """An operation that may be repeated, until it is answered. Raises Refused when repeating is no use."""
        while True:
            client = await self.connected()
            try:
                return await client.request(op, stream, data)
            except (Closed, TimeoutError):
                await asyncio.sleep(0.05)
            except Refused as refused:
                if not refused.error.get("retry"):
                    raise
                await asyncio.sleep(max(refused.error.get("retry_ms", 0) / 1000, 0.1))

    async def say(self, op: str, stream: str, data: Frame) -> None:
        """An operation without an answer, lost when there is no socket: typing."""
        if self._client is not None and self._ready.is_set():
            with contextlib.suppress(Closed):
                await self._client.say(op, stream, data)

    def changed(self, stream: str, kind: str, data: Any) -> None:
        self.on_change(stream, kind, data)

    def drop(self) -> None:
        """Loses the socket, as a bad network does."""
        if self._client is not None and self._client.closed is None:
            self._client.abort()

    async def _stay(self) -> None:
        attempt = 0
        while self.ended is None:
            try:
                before = self.connects
                closed = await self._once()
                attempt = 0 if self.connects > before else attempt + 1
                if closed.code >= _FATAL:
                    self.ended = closed
                self._stale = closed.code == _EXPIRED
            except _TROUBLE as error:
                attempt += 1
                self._stale = isinstance(error, Refused)
            if self.ended is None:
                await asyncio.sleep(self._delay(attempt))
        self._ready.set()

    def _delay(self, attempt: int) -> float:
        """Full jitter: clients that were cut off together do not come back together."""
        retry_ms, self._retry_ms = self._retry_ms, None
        if retry_ms is not None:
            return retry_ms / 1000
        return _jitter(0, min(_LONGEST, _SHORTEST * 2.0 ** min(attempt, 10)))

    async def _once(self) -> Closed:
        client = ChatClient(self.socket_url, on_push=self._push, on_streams=self._streams)
        await client.open()
        try:
            positions = {c.key: (c.copy.epoch, c.copy.seq) for c in self._followed() if c.copy is not None}
            welcome = await client.hello(await self._token(self._stale), resume=positions or None)
            self.user_id, self.connects = welcome["user"], self.connects + 1
            self._client = client
            self._ready.set()
            watcher = asyncio.create_task(_watch(client))
            try:
                return await client.ended()
            finally:
                watcher.cancel()
        finally:
            self._ready.clear()
            if client.closed is None:
                client.abort()

    def _followed(self) -> Iterable[Conversation]:
        return [conversation for conversation in self.conversations.values() if conversation.gone is None]

    def _streams(self, outcomes: Frame) -> None:
        for key, said in outcomes.items():
            if key in self.conversations:
                self.conversations[key].outcome(said)

    def _push(self, frame: Frame) -> None:
        kind, data = frame["t"], frame.get("d") or {}
        conversation = self.conversations.get(frame.get("s", ""))
        if conversation is not None:
            conversation.take(frame)
        elif kind == "goaway":
            self._retry_ms = data.get("retry_ms")
        elif kind == "auth.expiring":
            self._renewal = asyncio.get_running_loop().create_task(self._renew())
        elif kind == "pos":
            for key, top in data.get("tops", {}).items():
                if key in self.conversations:
                    self.conversations[key].expect(top if isinstance(top, int) else top[1])
        else:
            self.changed(frame.get("s", ""), kind, data)

    async def _renew(self) -> None:
        with contextlib.suppress(*_TROUBLE):
            token = await self._token(True)  # noqa: FBT003  -- a callback takes no keywords
            await (await self.connected()).request("auth", data={"token": token})


async def _watch(client: ChatClient) -> None:
    """A network that died without a word is noticed by the heartbeats that do not come."""
    loop = asyncio.get_running_loop()
    left = _SILENT_SECONDS
    while left > 0:
        await asyncio.sleep(left)
        left = client.heard + _SILENT_SECONDS - loop.time()
    client.abort()
