"""Which pages of other origins may call, and which may open a socket. The list is exact: no patterns, never `null`."""

from collections.abc import Iterable

from gateway.domain import verdicts
from gateway.domain.head import Head
from gateway.domain.wire import Headers
from libs.origins import origin

_METHODS = b"GET, POST, PUT, PATCH, DELETE"
_HEADERS = (
    b"Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Request-Id, X-CSRF-Token"
    b", X-Device-Token, X-Challenge-Solution, Range, If-Range"
)
_EXPOSED = b", ".join(
    (
        b"X-Request-Id, X-Request-Duration, ETag, Location, Retry-After",
        *verdicts.NAMES,
        b"X-Device-Token, Content-Disposition, Content-Range, Accept-Ranges",
    )
)
_MAX_AGE_SECONDS = b"600"
_VARY: Headers = [(b"vary", b"Origin")]


class Origins:
    def __init__(self, allowed: Iterable[str], own: Iterable[str]) -> None:
        """Pages of `own` may open sockets, and those of `allowed` call from elsewhere."""
        self._answers = {each: _answer(each) for each in (origin(text).encode() for text in allowed)}
        self._sockets = {each.encode() for each in own}

    def headers(self, sent: bytes | None) -> Headers:
        """For every answer. A cache must know that it depends on the origin even when this one gets nothing."""
        if not self._answers:
            return []
        return _VARY if sent is None else self._answers.get(sent, _VARY)

    def preflight(self, sent: bytes) -> Headers:
        if sent not in self._answers:
            return _VARY
        return [
            *self._answers[sent],
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", _HEADERS),
            (b"access-control-max-age", _MAX_AGE_SECONDS),
        ]

    def may_open_socket(self, head: Head) -> bool:
        """Against cross-site hijacking: a browser opens sockets to anywhere, with cookies, and only says from where."""
        origins = head.noted.get(b"origin")
        if origins is None:
            # Programs send no Origin; browsers always do. What looks like a browser without one has had it taken away.
            return not (_browser(head) or b"cookie" in head.noted)
        return len(origins) == 1 and origins[0] in self._sockets


def is_preflight(head: Head) -> bool:
    return head.method == b"OPTIONS" and b"origin" in head.noted and b"access-control-request-method" in head.noted


def _browser(head: Head) -> bool:
    agent = head.one(b"user-agent") or b""
    return b"sec-fetch-mode" in head.noted or agent.startswith(b"Mozilla/")


def _answer(allowed: bytes) -> Headers:
    return [
        *_VARY,
        (b"access-control-allow-origin", allowed),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", _EXPOSED),
    ]
