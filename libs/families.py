"""The error shapes of the five families of clients. The prefix of a path decides the family.

Sender, Hub and Rooms are existing clients whose calls and error bodies are kept exactly. Everything below `/api/v1` and
all paths of our own speak problem documents (RFC 9457).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

from libs.errors import MalformedBody, RateLimited, ServiceError, Unauthenticated


class Family(StrEnum):
    CANONICAL = "canonical"
    SENDER = "sender"
    HUB = "hub"
    ROOMS = "rooms"


@dataclass(frozen=True, slots=True)
class Rendered:
    status: int
    headers: dict[str, str]
    body: bytes


def family_of(path: str) -> Family:
    """Below `/api/auth` the trailing slash tells two families apart; `/health` likewise."""
    if path.startswith("/api/v1") or not path.startswith("/api/"):
        return Family.CANONICAL
    if path.startswith("/api/communications"):
        return Family.SENDER
    if path.startswith("/api/auth/"):
        return _below_auth(path)
    if path.startswith(("/api/users", "/api/chat")):
        return Family.ROOMS
    return Family.HUB


_IN_BOTH_SPELLINGS = {
    "/api/auth/login/facebook": Family.SENDER,
    "/api/auth/token/refresh": Family.SENDER,
    "/api/auth/refresh": Family.HUB,
    "/api/auth/me": Family.HUB,
}


def _below_auth(path: str) -> Family:
    """Both spellings of a call that only one family has are its own; otherwise the slash decides."""
    only = _IN_BOTH_SPELLINGS.get(path.rstrip("/"))
    return only or (Family.SENDER if path.endswith("/") else Family.HUB)


def render(family: Family, error: ServiceError, request_id: str) -> Rendered:
    status = error.status
    # The three older families know 400 for a payload that they cannot accept, never 422.
    if family is not Family.CANONICAL and status == HTTPStatus.UNPROCESSABLE_ENTITY:
        status = HTTPStatus.BAD_REQUEST
    media = "application/problem+json" if family is Family.CANONICAL else "application/json"
    headers = {"Content-Type": media, "Cache-Control": "no-store", **error.headers}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers.setdefault("WWW-Authenticate", "Bearer")
    # ASCII: a field name of the caller's may hold a lone surrogate, which UTF-8 has no bytes for.
    body = json.dumps(_SHAPES[family](error, request_id), ensure_ascii=True).encode()
    return Rendered(int(status), headers, body)


def _canonical(error: ServiceError, request_id: str) -> dict[str, object]:
    document: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
        "request_id": request_id,
        **error.extra,
    }
    if error.errors:
        document["errors"] = [{"field": e.field, "message": e.message} for e in error.errors]
    if isinstance(error, RateLimited) and error.allowed is not None:
        limit, seconds = error.allowed
        document["details"] = {"limit": limit, "window_seconds": seconds, "retry_after": error.retry_after}
    return document


_SENDER_CODES = {
    "validation_error": "invalid",
    "invalid_token_format": "not_authenticated",
    "invalid_token": "token_not_valid",
    "token_expired": "token_not_valid",
    "token_revoked": "token_not_valid",
    "token_stale": "token_not_valid",
    "wrong_token_type": "token_not_valid",
    "rate_limited": "throttled",
    "unavailable": "service_unavailable",
    "overloaded": "service_unavailable",
}
_NOT_VALID = "Given token not valid for any token type"


def _sender_text(error: ServiceError) -> tuple[str, str]:
    if isinstance(error, MalformedBody):
        return "parse_error", "JSON parse error"
    code = _SENDER_CODES.get(error.code, error.code)
    if error.code == "invalid_token_format":
        return code, Unauthenticated.detail
    return code, _NOT_VALID if error.code != code and code == "token_not_valid" else error.detail


def _field_lists(error: ServiceError) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    for e in error.errors:
        lists.setdefault(e.field or "non_field_errors", []).append(e.message)
    return lists


def _sender(error: ServiceError, _request_id: str) -> dict[str, object]:
    code, text = _sender_text(error)
    if error.errors:
        first = error.errors[0].message
        return {
            "success": False,
            "error": _field_lists(error),
            "message": first,
            "detail": first,
            "code": code,
        }
    return {"success": False, "error": text, "message": text, "detail": text, "code": code, **error.extra}


_HUB_CODES = {
    "validation_error": ("VALIDATION_ERROR", None),
    "not_authenticated": ("UNAUTHORIZED", "User not authenticated"),
    "invalid_token": ("INVALID_TOKEN", "Invalid access token"),
    "token_revoked": ("INVALID_TOKEN", "Invalid access token"),
    "token_stale": ("INVALID_TOKEN", "Invalid access token"),
    "wrong_token_type": ("INVALID_TOKEN", "Invalid access token"),
    "token_expired": ("TOKEN_EXPIRED", "Access token has expired"),
    "permission_denied": ("FORBIDDEN", None),
    "rate_limited": ("RATE_LIMIT_EXCEEDED", "Rate limit exceeded. Please try again later."),
    "server_error": ("INTERNAL_ERROR", "An unexpected error occurred"),
    "unavailable": ("SERVICE_UNAVAILABLE", None),
    "overloaded": ("SERVICE_UNAVAILABLE", None),
}


def _hub(error: ServiceError, _request_id: str) -> dict[str, object]:
    code, fixed = _HUB_CODES.get(error.code, (error.code.upper(), None))
    text = fixed or (error.errors[0].message if error.errors else error.detail)
    details: object = dict(error.extra)
    if error.errors:
        details = [{"field": e.field, "message": e.message} for e in error.errors]
    elif isinstance(error, RateLimited):
        details = {**error.extra, **_hub_allowance(error), "retryAfter": error.retry_after}
    retryable = code in ("RATE_LIMIT_EXCEEDED", "SERVICE_UNAVAILABLE")
    answer = {"code": code, "message": text, "retryable": retryable, "details": details}
    return {"success": False, "error": answer, "message": text}


def _hub_allowance(error: RateLimited) -> dict[str, object]:
    if error.allowed is None:
        return {}
    limit, seconds = error.allowed
    return {"limit": limit, "windowMs": seconds * 1000}


def _rooms(error: ServiceError, _request_id: str) -> dict[str, object]:
    if error.errors:
        return dict(_field_lists(error))
    code, text = _sender_text(error)
    return {"detail": text, "code": code, **error.extra}


_TEXT = {"type": "string"}
_FIELD_LISTS = {"type": "object", "additionalProperties": {"type": "array", "items": _TEXT}}
_HUB_ERROR = {
    "type": "object",
    "required": ["code", "message", "retryable", "details"],
    "properties": {
        "code": _TEXT,
        "message": _TEXT,
        "retryable": {"type": "boolean"},
        "details": {"type": ["object", "array"]},
    },
}
# What API descriptions say of the shapes of existing clients. The key is the name of the schema.
DESCRIPTIONS: dict[Family, tuple[str, dict[str, object]]] = {
    Family.SENDER: (
        "SenderRefusal",
        {
            "type": "object",
            "description": "A refusal as the Sender client reads it; `error` names each wrong field, or says it all.",
            "required": ["success", "error", "message", "detail", "code"],
            "properties": {
                "success": {"const": False},
                "error": {"anyOf": [_TEXT, _FIELD_LISTS]},
                "message": _TEXT,
                "detail": _TEXT,
                "code": _TEXT,
            },
        },
    ),
    Family.HUB: (
        "HubRefusal",
        {
            "type": "object",
            "description": "A refusal as the Hub client reads it.",
            "required": ["success", "error", "message"],
            "properties": {"success": {"const": False}, "error": _HUB_ERROR, "message": _TEXT},
        },
    ),
    Family.ROOMS: (
        "RoomsRefusal",
        {
            "description": "A refusal as the Rooms client reads it: the texts of each wrong field, or one text.",
            "anyOf": [
                {"type": "object", "required": ["detail", "code"], "properties": {"detail": _TEXT, "code": _TEXT}},
                _FIELD_LISTS,
            ],
        },
    ),
}
_SHAPES: dict[Family, Callable[[ServiceError, str], dict[str, object]]] = {
    Family.CANONICAL: _canonical,
    Family.SENDER: _sender,
    Family.HUB: _hub,
    Family.ROOMS: _rooms,
}
