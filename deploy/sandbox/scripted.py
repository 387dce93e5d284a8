"""Failures on order for providers over HTTP: the routes that take the orders, and what a struck request gets."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deploy.sandbox.faults import Fault, Faults
from deploy.sandbox.sms_routes import Silence

Act = Callable[[], Awaitable[Response]]
Refuse = Callable[[int, str], Response]
"""From a status and the words behind it to the provider's own way of saying no."""


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
        return refuse(int(fault.reply[:3]), fault.reply[4:])
    assert answer is not None  # noqa: S101  -- nothing has spoilt it
    return answer
