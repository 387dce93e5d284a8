"""From the front to the gateway's own pages: here a request becomes what an ASGI application expects."""

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import unquote

from uvicorn._types import HTTPScope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway.domain.policy import Facts

if TYPE_CHECKING:
    from gateway.routes.exchange import Exchange
    from gateway.routes.front import Front

_DROPPED = (b"x-request-id", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded")


class Page:
    __slots__ = ("_cycle", "_exchange", "_front")

    def __init__(self, exchange: "Exchange", front: "Front", facts: Facts) -> None:
        self._exchange = exchange
        self._front = front
        self._cycle = RequestResponseCycle(
            scope=_scope(exchange, front, facts),
            transport=front.transport,
            flow=front.flow,
            logger=front.logger,
            access_logger=front.access_logger,
            access_log=False,
            default_headers=front.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=exchange.stays(),
            on_response=self._done,
        )
        # uvicorn tells the cycle when the client leaves.
        front.cycle = self._cycle
        for data in exchange.held:
            self.feed(data)
        exchange.held.clear()
        if exchange.request_complete:
            self.end()
        front.run_page(self._cycle)

    def feed(self, data: bytes) -> None:
        self._cycle.body += data
        self._cycle.message_event.set()

    def end(self) -> None:
        self._cycle.more_body = False
        self._cycle.message_event.set()

    def drop(self) -> None:
        if not self._cycle.response_complete:
            self._cycle.disconnected = True
            self._cycle.message_event.set()

    def pause_answer(self) -> None:
        """uvicorn's flow control holds the application."""

    def resume_answer(self) -> None:
        """See `pause_answer`."""

    def _done(self) -> None:
        if not self._exchange.answered:
            self._exchange.answered = True
            self._front.exchange_done(self._exchange)


def _scope(exchange: "Exchange", front: "Front", facts: Facts) -> HTTPScope:
    head = exchange.head
    headers = [field for field in head.headers if field[0] not in _DROPPED]
    headers.append((b"x-request-id", facts.request_id))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head.version,
        "server": front.server,
        "client": (facts.caller.text, 0),
        "scheme": "https" if facts.proto == b"https" else "http",
        "method": head.method.decode("ascii"),
        "root_path": "",
        "path": unquote(head.path.decode("ascii")),
        "raw_path": head.path,
        "query_string": head.target[len(head.path) + 1 :],
        "headers": headers,
        "state": front.app_state.copy(),
        "extensions": {},
    }
