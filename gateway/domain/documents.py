"""One OpenAPI document out of those of the services."""

import asyncio
import re
from collections.abc import Mapping
from time import monotonic
from typing import Any

import httpx2
import structlog

from libs.tls import tls_context

Document = dict[str, Any]

_KEPT_SECONDS = 30.0
# With a service missing it is not worth keeping.
_KEPT_INCOMPLETE_SECONDS = 1.0
# A service that has just started builds its document first, and a slow machine takes its time for that.
_TIMEOUT_SECONDS = 10.0
_MOST_BYTES = 8 << 20
_DESCRIPTION = (
    "The API of Parley: accounts, chat and notifications behind one address. Every call answers a refusal as a problem"
    " document (RFC 9457) with a `code` for programs; every answer has an `X-Request-Id`."
)
_REFERENCE = re.compile(r"#/components/([A-Za-z]+)/([^/]+)")

log = structlog.get_logger()


class Reference:
    """The merged document, asked of the services at most every 30 seconds however many people read it."""

    def __init__(self, services: Mapping[str, list[str]], version: str) -> None:
        self._services = services
        self._version = version
        self._document: Document = {}
        self._until = 0.0
        self._turn = asyncio.Lock()

    async def document(self) -> Document:
        async with self._turn:
            if monotonic() >= self._until:
                fetched = await self._fetch_all()
                self._document = merge(fetched, self._version)
                kept = _KEPT_INCOMPLETE_SECONDS if None in fetched.values() else _KEPT_SECONDS
                self._until = monotonic() + kept
            return self._document

    async def _fetch_all(self) -> dict[str, Document | None]:
        async with httpx2.AsyncClient(timeout=_TIMEOUT_SECONDS, verify=tls_context(), trust_env=False) as client:
            fetched = await asyncio.gather(*(_fetch(client, name, urls) for name, urls in self._services.items()))
        return dict(zip(self._services, fetched, strict=True))


def merge(documents: Mapping[str, Document | None], version: str) -> Document:
    """None: the service gave no document. Components that differ under one name get that of their service before it."""
    merged: Document = {
        "openapi": "3.1.0",
        "info": {"title": "Parley", "version": version, "description": _DESCRIPTION},
        "paths": {},
        "components": {},
        "tags": [],
    }
    absent = [name for name, document in documents.items() if document is None]
    if absent:
        merged["x-unavailable"] = absent
    taken: Document = merged["components"]
    for service, document in documents.items():
        if document is None:
            continue
        renamed = _clashes(taken, document, service)
        moved = _moved(document, renamed)
        for kind, components in moved.get("components", {}).items():
            taken.setdefault(kind, {}).update(components)
        for path, operations in moved.get("paths", {}).items():
            merged["paths"].setdefault(path, {}).update(_tagged(operations, service))
        merged["tags"].append({"name": service, "description": document.get("info", {}).get("description", "")})
    return merged


def _clashes(taken: Document, document: Document, service: str) -> dict[tuple[str, str], str]:
    """Every component of the service that another one has under the same name with another meaning."""
    renamed = {}
    for kind, components in document.get("components", {}).items():
        for name, body in components.items():
            known = taken.get(kind, {}).get(name)
            if known is not None and known != body:
                renamed[kind, name] = f"{service.title()}{name}"
    # Whoever refers to a renamed component differs as well, even if its text reads the same.
    grown = True
    while renamed and grown:
        grown = False
        for kind, components in document.get("components", {}).items():
            for name, body in components.items():
                if (kind, name) not in renamed and name in taken.get(kind, {}) and _refers(body, renamed):
                    renamed[kind, name] = f"{service.title()}{name}"
                    grown = True
    return renamed


def _refers(value: object, renamed: Mapping[tuple[str, str], str]) -> bool:
    if isinstance(value, dict):
        return any(_refers(inner, renamed) for inner in value.values())
    if isinstance(value, list):
        return any(_refers(inner, renamed) for inner in value)
    match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return match is not None and (match[1], match[2]) in renamed


def _moved(document: Document, renamed: Mapping[tuple[str, str], str]) -> Document:
    if not renamed:
        return document
    moved: Document = _rewritten(document, renamed)
    for kind, components in moved.get("components", {}).items():
        moved["components"][kind] = {renamed.get((kind, name), name): body for name, body in components.items()}
    return moved


def _rewritten(value: Any, renamed: Mapping[tuple[str, str], str]) -> Any:
    if isinstance(value, dict):
        return {
            key: _security(inner, renamed) if key == "security" else _rewritten(inner, renamed)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_rewritten(inner, renamed) for inner in value]
    match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    return f"#/components/{match[1]}/{renamed.get((match[1], match[2]), match[2])}"


def _security(requirements: Any, renamed: Mapping[tuple[str, str], str]) -> Any:
    """Security requirements name their schemes without a reference."""
    if not isinstance(requirements, list):
        return requirements
    return [
        {renamed.get(("securitySchemes", name), name): scopes for name, scopes in requirement.items()}
        for requirement in requirements
    ]


def _tagged(operations: Document, service: str) -> Document:
    """Operations under the name of their service, unless they have groups of their own; ids become unique."""
    tagged = {}
    for method, operation in operations.items():
        if not isinstance(operation, dict):
            tagged[method] = operation
            continue
        tagged[method] = {**operation, "tags": operation.get("tags") or [service]}
        if "operationId" in operation:
            tagged[method]["operationId"] = f"{service}_{operation['operationId']}"
    return tagged


async def _fetch(client: httpx2.AsyncClient, name: str, urls: list[str]) -> Document | None:
    for url in urls:
        try:
            answer = await client.get(f"{url.rstrip('/')}/api/v1/{name}/openapi.json")
            answer.raise_for_status()
            document = answer.json() if len(answer.content) <= _MOST_BYTES else None
        except (httpx2.HTTPError, ValueError, RecursionError) as error:
            log.warning("reference_unavailable", upstream=url, reason=type(error).__name__)
            continue
        if isinstance(document, dict) and isinstance(document.get("paths"), dict):
            return document
    return None
