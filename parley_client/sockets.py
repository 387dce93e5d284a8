"""One socket of the chat.v1 protocol (docs/protocol.md).

It answers heartbeats, keeps its position in each stream, drops what it has seen, and notices holes. Coming back after
the socket ended, and mending holes, is `parley_client.chat`'s.
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

Frame = dict[str, Any]
Position = tuple[int, int]
_PATIENCE = 10.0


class Refused(Exception):
    """The server answered with `err`."""

    def __init__(self, error: Frame) -> None:
        self.code: str = error["code"]
        self.error = error
        super().__init__(f"{error['code']}: {error.get('detail', '')}")


class Closed(Exception):
    """The socket was closed."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"{code} {reason}")


@dataclass
class ChatClient:
    url: str
    positions: dict[str, Position] = field(default_factory=dict)
    """By stream the epoch and the number of the last event: what `resume` needs, on this or another client."""
    pushes: list[Frame] = field(default_factory=list)
    """Everything that was not an answer, in the order of arrival, duplicates left out."""
    welcome: Frame = field(default_factory=dict)
    duplicates: int = 0
    gaps: list[tuple[str, int, int]] = field(default_factory=list)
    """Stream, last number before and first number behind each hole."""
    closed: Closed | None = None
    on_push: Callable[[Frame], None] | None = None
    """Gets every push as it comes, duplicates too; nothing is kept in `pushes` then."""
    on_streams: Callable[[Frame], None] | None = None
    """Gets the outcomes of `hello` and `sub`, before any push that came behind them."""
    heard: float = 0.0
    """When something came last, by the loop's clock."""
    _socket: ClientConnection | None = None
    _reader: "asyncio.Task[None] | None" = None
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _answers: dict[int, "asyncio.Future[Frame]"] = field(default_factory=dict)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def socket(self) -> ClientConnection:
        assert self._socket is not None  # noqa: S101  -- it was opened
        return self._socket

    async def open(
        self, *, subprotocols: Sequence[str] = ("chat.v1",), headers: Mapping[str, str] | None = None
    ) -> None:
        """The handshake alone; `hello` comes next."""
        names = [Subprotocol(name) for name in subprotocols]
        self._socket = await connect(
            self.url,
            subprotocols=names or None,
            additional_headers=headers,
            max_size=None,
            compression=None,
            proxy=None,
        )
        self.heard = asyncio.get_running_loop().time()
        self._reader = asyncio.create_task(self._read())

    async def hello(
        self,
        token: str | None = None,
        *,
        ticket: str | None = None,
        resume: Mapping[str, Position | None] | None = None,
    ) -> Frame:
        data: Frame = {"v": 1, "device": "reference"}
        if token is not None:
            data["token"] = token
        if ticket is not None:
            data["ticket"] = ticket
        if resume:
            data["resume"] = resume
        self.welcome = await self.request("hello", data=data)
        return self.welcome

    async def request(self, op: str, stream: str | None = None, data: Frame | None = None) -> Frame:
        """Sends and waits for the answer. Raises Refused or Closed."""
        number, answer = await self.ask(op, stream, data)
        try:
            async with asyncio.timeout(_PATIENCE):
                return await answer
        finally:
            self._answers.pop(number, None)

    async def ask(
        self, op: str, stream: str | None = None, data: Frame | None = None
    ) -> tuple[int, "asyncio.Future[Frame]"]:
        """Sends; the answer comes as a future."""
        number = next(self._numbers)
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        frame: Frame = {"i": number, "op": op}
        if stream is not None:
            frame["s"] = stream
        if data is not None:
            frame["d"] = data
        await self.raw(json.dumps(frame))
        return number, answer

    async def say(self, op: str, stream: str, data: Frame) -> None:
        """Sends without asking for an answer."""
        await self.raw(json.dumps({"op": op, "s": stream, "d": data}))

    async def raw(self, text: str | bytes) -> None:
        try:
            await self.socket.send(text)
        except ConnectionClosed:
            if self._reader is not None:
                await self._reader
            raise self.closed or Closed(1006, "") from None

    async def sub(self, *streams: str, resume: Mapping[str, Position | None] | None = None) -> Frame:
        """Outcome by stream; an `err` in it is not raised."""
        wanted = {**dict.fromkeys(streams), **(resume or {})}
        outcomes: Frame = (await self.request("sub", data={"streams": wanted}))["streams"]
        return outcomes

    async def send(
        self, conversation_id: UUID | str, content: str, *, client_msg_id: UUID | str | None = None, **more: Any
    ) -> Frame:
        data = {"content": content, **more}
        if client_msg_id is not None:
            data["client_msg_id"] = str(client_msg_id)
        return await self.request("send", f"c:{conversation_id}", data)

    async def until(self, is_there: Callable[["ChatClient"], bool], *, patience: float = _PATIENCE) -> None:
        """Waits for a state of this client. Raises Closed when the socket ends first."""
        async with asyncio.timeout(patience):
            while not is_there(self):
                if self.closed:
                    raise self.closed
                self._arrived.clear()
                await self._arrived.wait()

    async def push(self, kind: str, *, patience: float = _PATIENCE, **matching: Any) -> Frame:
        """The first push of a kind whose data match, come already or still to come."""

        def found() -> Frame | None:
            for frame in self.pushes:
                data = frame.get("d", {})
                if frame["t"] == kind and all(data.get(k) == v for k, v in matching.items()):
                    return frame
            return None

        await self.until(lambda _: found() is not None, patience=patience)
        frame = found()
        assert frame is not None  # noqa: S101  -- it was found
        return frame

    async def until_closed(self, *, patience: float = _PATIENCE) -> Closed:
        assert self._reader is not None  # noqa: S101  -- it was opened
        async with asyncio.timeout(patience):
            await asyncio.shield(self._reader)
        assert self.closed is not None  # noqa: S101  -- the reader sets it
        return self.closed

    def events(self, stream: str) -> list[Frame]:
        return [frame for frame in self.pushes if frame.get("s") == stream and "q" in frame]

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()
        if self._reader is not None:
            await asyncio.wait([self._reader])

    async def ended(self) -> Closed:
        """Waits for the end, however long it takes."""
        assert self._reader is not None  # noqa: S101  -- it was opened
        await asyncio.wait([self._reader])
        return self.closed or Closed(1006, "")

    def abort(self) -> None:
        """Ends as a lost network does: nothing is said."""
        self.socket.transport.abort()

    async def _read(self) -> None:
        try:
            async for message in self.socket:
                self.heard = asyncio.get_running_loop().time()
                for line in message.split("\n") if isinstance(message, str) else []:
                    await self._take(json.loads(line))
                self._arrived.set()
        except ConnectionClosed:
            pass
        finally:
            self.closed = Closed(self.socket.close_code or 1006, self.socket.close_reason or "")
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(self.closed)
                    answer.exception()
            self._arrived.set()

    async def _take(self, frame: Frame) -> None:
        if "i" in frame:
            self._answer(frame)
        elif frame["t"] == "hb":
            with contextlib.suppress(ConnectionClosed):
                await self.socket.send('{"op":"ping"}')
        elif frame["t"] == "pong":
            pass
        elif self.on_push is not None:
            self.on_push(frame)
        elif self._is_new(frame):
            self.pushes.append(frame)

    def _answer(self, frame: Frame) -> None:
        answer = self._answers.get(frame["i"])
        if answer is None or answer.done():
            return
        if "err" in frame:
            answer.set_exception(Refused(frame["err"]))
            answer.exception()
        else:
            # Before the events behind it are looked at: they count from the position that the answer gives.
            self._note(frame["ok"].get("streams") or {})
            answer.set_result(frame["ok"])

    def _note(self, streams: Frame) -> None:
        if self.on_streams is not None and streams:
            self.on_streams(streams)
        for stream, outcome in streams.items():
            if "err" not in outcome:
                # `n` missed events follow. A client that was cut off for too long reads the newest page instead.
                self.positions[stream] = (outcome["epoch"], outcome["top"] - outcome["n"])

    def _is_new(self, frame: Frame) -> bool:
        if "q" not in frame:
            return True
        stream, number = frame["s"], frame["q"]
        epoch, last = self.positions.get(stream, (1, number - 1))
        if number <= last:
            self.duplicates += 1
            return False
        if number > last + 1:
            self.gaps.append((stream, last, number))
        self.positions[stream] = (epoch, number)
        return True


@contextlib.asynccontextmanager
async def chatting(url: str, token: str, *streams: str) -> AsyncIterator[ChatClient]:
    """A client that has said hello and follows the streams."""
    client = ChatClient(url)
    await client.open()
    try:
        await client.hello(token)
        if streams:
            await client.sub(*streams)
        yield client
    finally:
        await client.close()
