"""`/health/live`: the process turns its loop. `/health/ready`: what it needs answers, so it may get requests."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import NamedTuple

from fastapi import APIRouter
from fastapi.responses import JSONResponse

Check = Callable[[], Awaitable[object]]
_BUDGET_SECONDS = 2.0


class Doubtful(Exception):
    """Raised by a check whose matter still serves, but wants to be seen to. The process stays ready."""


class Result(NamedTuple):
    state: str
    ms: float


def router(checks: Mapping[str, Check]) -> APIRouter:
    routes = APIRouter(prefix="/health", include_in_schema=False)

    @routes.get("/live")
    async def live() -> dict[str, str]:
        return {"status": "alive"}

    @routes.get("/ready")
    async def ready() -> JSONResponse:
        results = dict(zip(checks, await asyncio.gather(*map(_result, checks.values())), strict=True))
        good = all(result.state != "down" for result in results.values())
        body = {
            "status": "ready" if good else "unready",
            "checks": {name: result.state for name, result in results.items()},
            "ms": {name: result.ms for name, result in results.items()},
        }
        return JSONResponse(body, status_code=200 if good else 503)

    return routes


async def _result(check: Check) -> Result:
    began = perf_counter()
    state = await _state(check)
    return Result(state, round((perf_counter() - began) * 1000, 1))


async def _state(check: Check) -> str:
    try:
        async with asyncio.timeout(_BUDGET_SECONDS):
            await check()
    except Doubtful:
        return "warn"
    except Exception:  # noqa: BLE001  -- whatever the reason is, the dependency is not usable
        return "down"
    return "up"
