"""The access log: one JSON line a request, written together a few times a second.

A logger call per request with all its processors would cost as much as the forwarding itself; the lines here have the
same keys as every other log line, are at most half a second late, and never contain a query, a header or a body.
"""

import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from time import time

import orjson
import structlog

from gateway.domain.head import Head
from gateway.domain.policy import Facts

_MOST_WAITING = 1000
_PLAIN = re.compile(rb"[ !#-\[\]-~]*")


class AccessLog:
    def __init__(self, *, form: str, write: Callable[[bytes], object] | None = None) -> None:
        """`form` console: through the ordinary logger, for people. `write` replaces standard output."""
        self._console = structlog.get_logger() if form == "console" else None
        self._write = write or _to_stdout
        self._lines: list[bytes] = []
        self._second = 0
        self._stamp = b""

    def add(self, head: Head, facts: Facts, status: int, seconds: float) -> None:
        """An answered request; `status` 499 where the client left before."""
        if self._console is not None:
            self._console.info("request", **_fields(head, facts, status, seconds))
            return
        self._lines.append(self._entry(head, facts, status, seconds))
        if len(self._lines) >= _MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            self._write(b"".join(lines))

    def _entry(self, head: Head, facts: Facts, status: int, seconds: float) -> bytes:
        now = time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()
        path, country, claims = _path(head, facts), facts.country, facts.claims
        return (
            b'{"timestamp":"%s.%06dZ","level":"info","service":"gateway","event":"request","method":"%s","path":%s,'
            b'"status":%d,"ms":%.1f,"client":"%s","country":%s,"user_id":%s,"request_id":"%s"}\n'
        ) % (
            self._stamp,
            int((now - second) * 1_000_000),
            head.method,
            # What passed the checks of a path holds nothing that JSON would escape; what was refused may.
            b'"%s"' % path if _PLAIN.fullmatch(path) else orjson.dumps(path.decode("latin-1")),
            status,
            seconds * 1000,
            facts.sender.caller.raw,
            b"null" if country is None else b'"%s"' % country.encode(),
            b"null" if claims is None else b'"%s"' % claims.sub.encode(),
            facts.request_id,
        )


def _path(head: Head, facts: Facts) -> bytes:
    """Without the secret that some paths end with."""
    route = facts.route
    return route.prefix if route is not None and route.secret else head.path


def _fields(head: Head, facts: Facts, status: int, seconds: float) -> dict[str, object]:
    return {
        "method": head.method.decode(),
        "path": _path(head, facts).decode("latin-1"),
        "status": status,
        "ms": round(seconds * 1000, 1),
        "client": facts.sender.caller.text,
        "country": facts.country,
        "user_id": facts.claims.sub if facts.claims is not None else None,
        "request_id": facts.request_id.decode(),
    }


def _to_stdout(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.flush()
