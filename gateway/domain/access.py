"""The access log: one JSON line a request, written together a few times a second.

A logger call per request with all its processors would cost as much as the forwarding itself; the lines here have the
same keys as every other log line, are at most half a second late, and never contain a query, a header or a body.
"""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from time import time

import orjson
import structlog

_MOST_WAITING = 1000


class AccessLog:
    def __init__(self, *, form: str, write: Callable[[bytes], object] | None = None) -> None:
        """`form` console: through the ordinary logger, for people. `write` replaces standard output."""
        self._console = structlog.get_logger() if form == "console" else None
        self._write = write or _to_stdout
        self._lines: list[bytes] = []

    def add(self, **event: object) -> None:
        if self._console is not None:
            self._console.info("request", **event)
            return
        event["timestamp"] = datetime.fromtimestamp(time(), UTC)
        event["level"] = "info"
        event["service"] = "gateway"
        event["event"] = "request"
        self._lines.append(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z))
        if len(self._lines) >= _MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            self._write(b"".join(lines))


def _to_stdout(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.flush()
