"""The health of the whole. `/health/live` and `/health/ready` are those of this process (`libs.health`)."""

from typing import Any, cast

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from gateway.domain.health import State, Whole
from libs.clock import Clock, rfc3339

router = APIRouter(include_in_schema=False)
_WORDS = {True: "healthy", False: "unhealthy"}


async def _state(request: Request) -> State:
    return await cast(Whole, request.app.state.whole).state()


def _answer(state: State, body: dict[str, Any]) -> JSONResponse:
    return JSONResponse(body, 200 if state.healthy else 503)


@router.get("/api/v1/health")
async def read_health(request: Request) -> JSONResponse:
    """Whether every service can answer, and which ones cannot. 503 as long as one cannot."""
    state = await _state(request)
    body = {
        "status": _WORDS[state.healthy],
        "timestamp": rfc3339(Clock().now()),
        "services": {name: _WORDS[good] for name, good in state.services.items()},
        "database": _WORDS[state.database],
        "redis": _WORDS[state.redis],
    }
    return _answer(state, body)


@router.get("/api/v1/health/detailed")
async def read_health_detailed(request: Request) -> JSONResponse:
    """The same with how long the servers behind take to answer, in milliseconds; null where they did not."""
    state = await _state(request)
    body = {
        "status": _WORDS[state.healthy],
        "timestamp": rfc3339(Clock().now()),
        "database": {"status": _WORDS[state.database], "latency_ms": state.database_ms},
        "redis": {"status": _WORDS[state.redis], "latency_ms": state.redis_ms},
        "services": {f"{name}_service": {"status": _WORDS[good]} for name, good in state.services.items()},
    }
    return _answer(state, body)


@router.get("/health")
async def read_health_hub(request: Request) -> JSONResponse:
    """As the Hub client reads it."""
    state = await _state(request)
    words = {True: "connected", False: "disconnected"}
    services = {"database": words[state.database], "redis": words[state.redis]}
    if state.healthy:
        return _answer(state, {"status": "ok", "services": services})
    refused = {"status": "error", "error": "Service unavailable", "details": state.broken, "services": services}
    return _answer(state, refused)


@router.get("/health/")
async def read_health_rooms(request: Request) -> Response:
    """As the Rooms client reads it; the word OK for whoever prefers text."""
    state = await _state(request)
    if state.healthy and request.headers.get("accept", "").strip().startswith("text/plain"):
        return PlainTextResponse("OK")
    return _answer(state, {"status": _WORDS[state.healthy], "database": state.database, "redis": state.redis})
