"""The health of the whole. `/health/live` and `/health/ready` are those of this process (`libs.health`)."""

from typing import Any, cast

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from gateway.domain.health import State, Whole
from libs.clock import Clock, rfc3339

router = APIRouter(include_in_schema=False)


async def _state(request: Request) -> State:
    return await cast(Whole, request.app.state.whole).state()


def _answer(state: State, body: dict[str, Any]) -> JSONResponse:
    return JSONResponse(body, 200 if state.healthy else 503)


@router.get("/api/v1/health")
async def read_health(request: Request) -> JSONResponse:
    """Whether every service can answer, and which ones cannot. 503 as long as one cannot."""
    state = await _state(request)
    words = {True: "healthy", False: "unhealthy"}
    services = {name: words[good] for name, good in state.services.items()}
    body = {
        "status": words[state.healthy],
        "timestamp": rfc3339(Clock().now()),
        "services": services,
        "database": words[state.database],
        "redis": words[state.redis],
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
    word = "healthy" if state.healthy else "unhealthy"
    return _answer(state, {"status": word, "database": state.database, "redis": state.redis})
