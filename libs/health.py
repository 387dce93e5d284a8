"""`/health/live`: the process turns its loop. `/health/ready`: what it needs answers, so it may get requests."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from fastapi import APIRouter
from fastapi.responses import JSONResponse

Check = Callable[[], Awaitable[object]]
_BUDGET_SECONDS = 2.0


def router(checks: Mapping[str, Check]) -> APIRouter:
    routes = APIRouter(prefix="/health", include_in_schema=False)

    @routes.get("/live")
    async def live() -> dict[str, str]:
        return {"status": "alive"}

    @routes.get("/ready")
    async def ready() -> JSONResponse:
        results = await asyncio.gather(*map(_passes, checks.values()))
        states = {name: "up" if ok else "down" for name, ok in zip(checks, results, strict=True)}
        status = "ready" if all(results) else "unready"
        return JSONResponse({"status": status, "checks": states}, status_code=200 if all(results) else 503)

    return routes


async def _passes(check: Check) -> bool:
    try:
        async with asyncio.timeout(_BUDGET_SECONDS):
            await check()
    except Exception:  # noqa: BLE001  -- whatever the reason is, the dependency is not usable
        return False
    return True
