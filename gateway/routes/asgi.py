"""From the front to the gateway's own pages: here a request becomes what an ASGI application expects.

The pages are small, so requests and answers pass whole.
"""

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import structlog

from gateway.domain.policy import Facts
from gateway.domain.wire import Headers
from libs.errors import ServerFault

if TYPE_CHECKING:
    from gateway.routes.exchange import Exchange
    from gateway.routes.front import Front

_DROPPED = (b"x-request-id", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded")

log = structlog.get_logger()


class Page:
    __slots__ = ("_asked", "_body", "_exchange", "_front", "_parts", "_scope", "_status", "_task")

    def __init__(self, exchange: "Exchange", front: "Front", facts: Facts) -> None:
        self._exchange = exchange
        self._front = front
        self._scope = _scope(exchange, facts)
        self._asked = False
        self._body: list[bytes] = exchange.held.copy()
        self._status: tuple[int, Headers] | None = None
        self._parts: list[bytes] = []
        self._task: asyncio.Task[None] | None = None
        exchange.held.clear()
        if exchange.request_complete:
            self.end()

    def feed(self, data: bytes) -> None:
        self._body.append(data)

    def end(self) -> None:
        task = self._task = asyncio.get_running_loop().create_task(self._run())
        # The server waits for what runs before it stops.
        self._front.server_state.tasks.add(task)
        task.add_done_callback(self._front.server_state.tasks.discard)

    def drop(self) -> None:
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    def pause_answer(self) -> None:
        """The answer is one piece; what is not read of it has the deadline of the connection."""

    def resume_answer(self) -> None:
        """See `pause_answer`."""

    async def _run(self) -> None:
        try:
            await self._front.app(self._scope, self._receive, self._send)
        except Exception:
            # The application answers for its own faults; this is one of the parts around it.
            log.exception("page_failed", path=self._scope["path"])
            # Half a page must not pass for a whole one.
            self._status = None
        if self._exchange.answered:
            return
        if self._status is None:
            self._exchange.refuse(ServerFault())
        else:
            status, headers = self._status
            self._exchange.answer_page(status, headers, b"".join(self._parts))

    async def _receive(self) -> dict[str, Any]:
        if self._asked:
            # Who asks again waits to hear that the client has left; the task is cancelled then.
            await asyncio.get_running_loop().create_future()
        self._asked = True
        return {"type": "http.request", "body": b"".join(self._body), "more_body": False}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"], [(name.lower(), value) for name, value in message.get("headers", ())]
        elif message["type"] == "http.response.body":
            self._parts.append(message.get("body", b""))


def _scope(exchange: "Exchange", facts: Facts) -> dict[str, Any]:
    head = exchange.head
    headers = [field for field in head.headers if field[0] not in _DROPPED]
    headers.append((b"x-request-id", facts.request_id))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": None,
        "client": (facts.sender.caller.text, 0),
        "scheme": "https" if facts.sender.proto == b"https" else "http",
        "method": head.method.decode("ascii"),
        "root_path": "",
        "path": unquote(head.path.decode("ascii")),
        "raw_path": head.path,
        "query_string": head.target[len(head.path) + 1 :],
        "headers": headers,
        "state": {},
        "extensions": {},
    }
