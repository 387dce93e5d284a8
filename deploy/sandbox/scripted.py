"""Failures on order for providers over HTTP: the routes that take the orders, and what a struck request gets."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from deploy.sandbox.faults import Fault, Faults

Act = Callable[[], Awaitable[Response]]
Refuse = Callable[[int, str], Response]
"""From a status and the words behind it to the provider's own way of saying no."""
_PIECES = 10


class Silence(Response):
    """An answer that ends before it has begun: the connection is closed instead."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})


class Trickle(Response):
    """Another answer, whose body comes in pieces."""

    def __init__(self, answer: Response, seconds: float) -> None:
        super().__init__(answer.body, answer.status_code)
        self.raw_headers = answer.raw_headers
        self._pause = seconds / _PIECES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = bytes(self.body)
        for piece in range(_PIECES):
            await asyncio.sleep(self._pause)
            part = body[len(body) * piece // _PIECES : len(body) * (piece + 1) // _PIECES]
            await send({"type": "http.response.body", "body": part, "more_body": piece < _PIECES - 1})


def paced(answer: Response, fault: Fault | None) -> Response:
    """As slow as the fault wants it."""
    return Trickle(answer, fault.slow_ms / 1000) if fault is not None and fault.slow_ms else answer


def routes(path: str, faults_of: Callable[[Request], Faults]) -> Sequence[Route]:
    """POST, GET and DELETE: script a failure, see `Fault`; list those that are not used up; behave again."""

    async def create(request: Request) -> Response:
        fault = Fault.model_validate_json(await request.body())
        return JSONResponse(faults_of(request).add(fault).model_dump(), status_code=201)

    async def list_pending(request: Request) -> Response:
        return JSONResponse({"results": [fault.model_dump() for fault in faults_of(request).pending()]})

    async def clear(request: Request) -> Response:
        faults_of(request).clear()
        return Response(status_code=204)

    endpoints = (("POST", create), ("GET", list_pending), ("DELETE", clear))
    return [Route(path, endpoint, methods=[method]) for method, endpoint in endpoints]


async def struck(faults: Faults, whom: str, act: Act, refuse: Refuse) -> Response:
    """The answer to a request about `whom`: what `act` says, unless a fault strikes. With `keep` it has acted all the
    same."""
    fault = faults.take([whom], after_data=False) or faults.take([whom], after_data=True)
    if fault is None:
        return await act()
    spoilt = bool(fault.reply or fault.drop)
    answer = await act() if fault.keep or not spoilt else None
    if fault.delay_ms:
        await asyncio.sleep(fault.delay_ms / 1000)
    if fault.drop:
        return Silence()
    if fault.reply:
        answer = refuse(int(fault.reply[:3]), fault.reply[4:])
    assert answer is not None  # noqa: S101  -- nothing has spoilt it
    return paced(answer, fault)
