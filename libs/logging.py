"""Structured logs: one JSON object a line, the request id in each, secrets in none."""

import json
import logging
import re
import sys
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any

import orjson
import structlog

_SECRET_NAMES = re.compile(
    r"password|passwd|secret|token|authorization|cookie|code_value|otp|api_key|private|refresh|ticket",
    re.IGNORECASE,
)
_SECRET_VALUES = re.compile(
    r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]+|\bpat_[\w-]{8,}|(?<=[?&]token=)[^&\s\"]+|(?<=://)[^/@\s\"]+:[^/@\s\"]+(?=@)"
)
_HIDDEN = "[hidden]"

Event = MutableMapping[str, Any]


def redact(_logger: object, _method: str, event: Event) -> Event:
    """Hides values by the name of their key, and tokens and URL passwords wherever they stand in a text."""
    for name, value in event.items():
        if isinstance(value, str | bytes | dict | list) and _is_secret(name):
            event[name] = _HIDDEN
        # The pattern finds nothing without one of these, which are found much faster.
        elif isinstance(value, str) and ("://" in value or "eyJ" in value or "pat_" in value or "token=" in value):
            event[name] = _SECRET_VALUES.sub(_HIDDEN, value)
    return event


@lru_cache(1024)
def _is_secret(name: str) -> bool:
    return name != "event" and _SECRET_NAMES.search(name) is not None


def configure(service: str, *, level: str, form: str) -> None:
    """Sends structlog and the standard library's loggers through one chain to standard output."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(service),
    ]
    console = form == "console"
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(colors=False) if console else structlog.processors.JSONRenderer(_compact)
    )
    # Tracebacks become text before redaction: an exception's message may quote a URL with a password.
    last: list[structlog.types.Processor] = [structlog.processors.format_exc_info, redact, renderer]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("uvicorn.access", "httpx2", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _named(service: str) -> structlog.types.Processor:
    def add(_logger: object, _method: str, event: Event) -> Event:
        event.setdefault("service", service)
        return event

    return add


def _compact(event: Event, **how: Any) -> str:
    try:
        return orjson.dumps(event, default=how["default"], option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        # Half a character, or a number of more than 64 bits: a log must not stumble over what somebody sends.
        return json.dumps(event, **how)
