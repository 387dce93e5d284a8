"""Completes the OpenAPI document: the refusals of every operation, without repeating them in the routes."""

import asyncio
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import JSONResponse

from libs import families
from libs.families import Family

_PROBLEM = {
    "type": "object",
    "description": "A refusal (RFC 9457). `code` is for programs, `detail` for people.",
    "required": ["type", "title", "status", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "examples": ["validation_error"]},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "details": {
            "type": "object",
            "description": "Of 429: `limit` calls in `window_seconds`; `retry_after` are seconds.",
        },
    },
}
_SENTENCES = {
    "401": "No token, or one that is not valid any more.",
    "404": "No such thing, or not yours to see.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "422": "A field is wrong; `errors` names each.",
    "default": "Any other refusal, in the same shape.",
}


def complete(app: FastAPI, url: str) -> None:
    """Replaces the app's generator by one that adds what every operation has in common, and serves it at `url`."""

    def generate() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                openapi_version="3.1.0",
            )
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for default in ("HTTPValidationError", "ValidationError"):
                schemas.pop(default, None)
            schemas["Problem"] = _PROBLEM
            used = {families.family_of(path) for path in document.get("paths", {})}
            schemas.update(families.DESCRIPTIONS[family] for family in used - {Family.CANONICAL})
            for path, operations in document.get("paths", {}).items():
                for operation in operations.values():
                    _add_refusals(path, operation)
            app.openapi_schema = document
        return app.openapi_schema

    async def read_openapi() -> JSONResponse:
        # The first time takes a second of work, for which nobody else shall wait.
        return JSONResponse(await asyncio.to_thread(app.openapi))

    app.openapi = generate  # type: ignore[method-assign]
    app.add_api_route(url, read_openapi, include_in_schema=False)


def _refusal(family: Family) -> dict[str, Any]:
    if family is Family.CANONICAL:
        return {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    name, _ = families.DESCRIPTIONS[family]
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _add_refusals(path: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    family = families.family_of(path)
    content = _refusal(family)
    # FastAPI puts its own 422 on operations with input; one of the route's own has a description of ours and stays.
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    for status, response in responses.items():
        if status >= "400":
            response.setdefault("content", content)
    for status in _common(path, operation):
        said = "400" if status == "422" and family is not Family.CANONICAL else status
        responses.setdefault(said, {"description": _SENTENCES[status], "content": content})


def _common(path: str, operation: dict[str, Any]) -> list[str]:
    statuses = ["default"]
    if operation.get("security"):
        statuses.append("401")
    if "{" in path:
        statuses.append("404")
    if "requestBody" in operation:
        statuses += ["413", "415"]
    if "requestBody" in operation or operation.get("parameters"):
        statuses.append("422")
    return statuses
