"""The outermost layer of a service: what every answer carries and what every request must respect.

Plain ASGI, one pass. It gives the request its id, strips the trailing slash of canonical paths (both spellings are one
route, never a redirect), bounds the body, refuses bodies that are not JSON, adds the headers of ours, counts, logs, and
turns an unforeseen exception into a 500 that says nothing.
"""

import re
import time
from functools import cache
from urllib.parse import unquote

import structlog
from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.db import QueryCount, is_unavailable, query_count
from libs.errors import PayloadTooLarge, ServerFault, ServiceError, Unavailable, UnsupportedMediaType
from libs.families import family_of, render
from libs.ids import uuid7
from libs.metrics import REQUESTS, SECONDS

REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{8,64}")
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"x-xss-protection", b"1; mode=block"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
    (b"content-security-policy", b"default-src 'self'; script-src 'self' 'unsafe-inline'"),
)
# What is for one person stays in no cache, a browser's included. Public keys say otherwise of themselves.
_OURS = (*SECURITY_HEADERS, (b"cache-control", b"no-store"))
_ONE_SLASH = ("/api/v1/", "/internal/")
_JSON = re.compile(rb"application/(?:[\w.+-]+\+)?json\s*(?:;|$)", re.IGNORECASE)
_FORM = re.compile(rb"application/x-www-form-urlencoded\s*(?:;|$)", re.IGNORECASE)

log = structlog.get_logger()


class Edge:
    """`forms`: the few paths that accept a form as browsers send it, and nothing else. `uploads`: those that take a
    body of any kind and length, and bound it themselves."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        service: str,
        max_body_bytes: int,
        forms: re.Pattern[str] | None = None,
        uploads: re.Pattern[str] | None = None,
    ) -> None:
        self._app = app
        self._service = service
        self._max_body = max_body_bytes
        self._forms = forms
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if REQUEST_ID.fullmatch(given) else str(uuid7())
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        path: str = scope["path"]
        if len(path) > 1 and path.endswith("/") and path.startswith(_ONE_SLASH):
            scope["path"] = path.rstrip("/")
        answer = _Answer(send, request_id)
        try:
            if self._uploads is None or self._uploads.fullmatch(scope["path"]) is None:
                self._refuse_body(scope["method"], scope["path"], headers)
                receive = self._bounded(receive)
            await self._app(scope, receive, answer.send)
        except ServiceError as error:
            await answer.refuse(path, error)
        except Exception as error:
            if not is_unavailable(error):
                log.exception("request_failed", method=scope["method"], path=_shown(scope, path))
            await answer.refuse(path, Unavailable() if is_unavailable(error) else ServerFault())
        self._record(scope, path, answer)

    def _refuse_body(self, method: str, path: str, headers: dict[bytes, bytes]) -> None:
        length = headers.get(b"content-length", b"0")
        # A negative or absurd length never gets here: the HTTP parser refuses it.
        if int(length) > self._max_body:
            raise PayloadTooLarge
        has_body = length != b"0" or b"transfer-encoding" in headers
        if has_body and method in ("POST", "PUT", "PATCH", "DELETE"):
            media = headers.get(b"content-type", b"")
            wanted = _FORM if self._forms is not None and self._forms.fullmatch(path) else _JSON
            if not wanted.match(media):
                raise UnsupportedMediaType(_unsupported(media))

    def _bounded(self, receive: Receive) -> Receive:
        seen = 0

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_body:
                raise PayloadTooLarge
            return message

        return bounded

    def _record(self, scope: Scope, path: str, answer: "_Answer") -> None:
        route = scope.get("route")
        # Label values must be few: the pattern of the route, never the path with its ids.
        pattern = getattr(route, "path", "unmatched")
        seconds = time.perf_counter() - answer.started
        _count(self._service, scope["method"], pattern, answer.status).inc()
        _clock(self._service, pattern).observe(seconds)
        if not path.startswith("/health"):
            log.info(
                "request",
                method=scope["method"],
                path=_shown(scope, path),
                status=answer.status,
                ms=round(seconds * 1000, 1),
                queries=answer.queries.statements,
            )


class _Answer:
    """Adds our headers to the start of the answer, and can still refuse while nothing was sent."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.started = time.perf_counter()
        self.status = 500
        self.queries = QueryCount()
        query_count.set(self.queries)
        self._open = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._open = True
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            # A page may bring its own policy: one that shows an interface needs another than data does.
            given = {name for name, _ in headers}
            ours = [field for field in _OURS if field[0] not in given]
            message["headers"] = [*headers, *ours, *self._measured()]
        await self._send(message)

    async def refuse(self, path: str, error: ServiceError) -> None:
        if self._open:
            # Part of an answer is out; closing the connection is the only honest end.
            raise error
        rendered = render(family_of(path), error, self._request_id)
        headers = [(k.lower().encode(), v.encode()) for k, v in rendered.headers.items()]
        headers.append((b"content-length", str(len(rendered.body)).encode()))
        await self.send({"type": "http.response.start", "status": rendered.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": rendered.body})

    def _measured(self) -> list[tuple[bytes, bytes]]:
        seconds = time.perf_counter() - self.started
        return [
            (b"x-request-id", self._request_id.encode()),
            (b"x-request-duration", b"%.3fs" % seconds),
            (b"x-database-queries", b"%d" % self.queries.statements),
            (b"x-query-time", b"%.3fs" % self.queries.seconds),
        ]


@cache
def _count(service: str, method: str, pattern: str, status: int) -> Counter:
    return REQUESTS.labels(service, method, pattern, str(status))


@cache
def _clock(service: str, pattern: str) -> Histogram:
    return SECONDS.labels(service, pattern)


def _shown(scope: Scope, path: str) -> str:
    """For the log. What a route calls `token` opens something, and stays out."""
    pattern: str = getattr(scope.get("route"), "path", "")
    return pattern if "{token}" in pattern else path


def _unsupported(media: bytes) -> str:
    shown = unquote(media.decode("ascii", "replace"))[:100]
    printable = "".join(c for c in shown if c.isprintable())
    return f'Unsupported media type "{printable}" in request.'
