"""The app factory of all services: the same edge, the same refusals, the same description."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException

from libs import health, openapi
from libs.doors import Door, Doors
from libs.edge import Edge
from libs.errors import (
    BadRequest,
    FieldError,
    Invalid,
    MalformedBody,
    MethodNotAllowed,
    NotFound,
    ServiceError,
    sentence_of,
)
from libs.families import family_of, render
from libs.routing import Directory
from libs.settings import CommonSettings

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
API_VERSION = "1.0.0"
_SHOWN_ERRORS = 20
# Doors bound their bodies themselves.
_ANY_PATH = re.compile(".*", re.DOTALL)


def create_app(  # noqa: PLR0913  -- the parts of an app
    *,
    name: str,
    title: str,
    description: str,
    settings: CommonSettings,
    routers: Sequence[APIRouter],
    lifespan: Lifespan,
    checks: Mapping[str, health.Check] | None = None,
    forms: re.Pattern[str] | None = None,
    uploads: re.Pattern[str] | None = None,
) -> FastAPI:
    """An app whose state the lifespan fills. `checks` decide readiness, and are called only once it is filled. `forms`
    are the paths that take a form in the place of JSON, `uploads` those that take any body and bound it themselves."""
    app = FastAPI(
        title=title,
        description=description,
        version=API_VERSION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        telemetry={"tracing": settings.otlp_endpoint is not None, "metrics": False, "logs": False},
    )
    app.state.settings = settings
    # Before the others, whose paths with an id would catch it.
    openapi.complete(app, f"/api/v1/{name}/openapi.json")
    for router in [*routers, health.router(checks or {})]:
        # Not `include_router`: what that remembers of each router is searched once more for each request.
        app.router.routes.extend(router.routes)
    app.router.middleware_stack = Directory(app.router)
    app.add_exception_handler(ServiceError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_invalid)
    app.add_exception_handler(HTTPException, _refuse_http)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_credentials=True,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=[
                *("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "X-Request-Id"),
                *("X-CSRF-Token", "X-Device-Token", "X-Challenge-Solution"),
            ],
            expose_headers=["X-Request-Id", "ETag", "Retry-After", "RateLimit", "RateLimit-Policy", "X-Device-Token"],
            max_age=600,
        )
    app.add_middleware(Edge, service=name, max_body_bytes=settings.max_body_bytes, forms=forms, uploads=uploads)
    doors = [route for route in app.routes if isinstance(route, Door)]
    if doors:
        edge = partial(Edge, service=name, max_body_bytes=0, uploads=_ANY_PATH)
        app.middleware_stack = Doors(app.build_middleware_stack(), doors, edge)
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)  # noqa: S101  -- registered for this class
    rendered = render(family_of(request.url.path), error, request.state.request_id)
    return Response(rendered.body, rendered.status, rendered.headers)


async def _refuse_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  -- registered for this class
    return await _refuse(request, _named_fields(error.errors()))


async def _refuse_http(request: Request, error: Exception) -> Response:
    """What the framework itself refuses: unknown paths, wrong methods, bodies that are no JSON."""
    assert isinstance(error, HTTPException)  # noqa: S101  -- registered for this class
    if isinstance(error.__cause__, ServiceError):
        return await _refuse(request, error.__cause__)
    if error.status_code == 404:
        return await _refuse(request, NotFound())
    if error.status_code == 405:
        text = f'Method "{request.method}" not allowed.'
        return await _refuse(request, MethodNotAllowed(text, headers=error.headers))
    return await _refuse(request, MalformedBody() if request.method != "GET" else BadRequest())


def _named_fields(errors: Sequence[Any]) -> ServiceError:
    if any(e["type"] == "json_invalid" for e in errors):
        return MalformedBody()
    # The place only ("body", "query"), never the value: an answer does not repeat what was sent.
    named = [FieldError(".".join(str(part)[:100] for part in e["loc"][1:]), sentence_of(e)) for e in errors]
    return Invalid(errors=named[:_SHOWN_ERRORS])
