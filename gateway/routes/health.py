"""The health of the whole. `/health/live` and `/health/ready` are those of this process (`libs.health`)."""

from typing import cast

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from gateway.domain.health import Whole
from libs.clock import Clock, rfc3339

router = APIRouter(include_in_schema=False)


@router.get("/health")
@router.get("/health/")
@router.get("/api/v1/health")
async def read_health(request: Request) -> JSONResponse:
    """Whether every service can answer, and which ones cannot. 503 as long as one cannot."""
    states = await cast(Whole, request.app.state.whole).states()
    healthy = all(state == "healthy" for state in states.values())
    body = {
        "status": "healthy" if healthy else "unhealthy",
        "timestamp": rfc3339(Clock().now()),
        "services": states,
    }
    return JSONResponse(body, 200 if healthy else 503)
