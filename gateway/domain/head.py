"""The head of a request, and the checks that give it one meaning.

The grammar refuses what is malformed; the checks here refuse what is well-formed but could be read in two ways by two
parsers: a second Host, other transfer codings, an absolute target, an encoded slash. What passes is routed and sent as
it came.
"""

import re
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

from gateway.domain.wire import CHUNKED, Headers, Malformed, body_length, field_lines, split_lines
from gateway.errors import BadFraming, HeadTooLarge, MethodUnknown, NotUpgradable, TargetTooLong, UnsafePath
from libs.errors import ServiceError

MAX_TARGET_BYTES = 8192
MAX_HEAD_BYTES = 16_384
MAX_HEADERS = 100
_MAX_LINE_BYTES = MAX_TARGET_BYTES + 32  # with method and version
_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
_HOST = re.compile(rb"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
# Unreserved characters have no reason to be encoded (RFC 3986, 6.2.2.2), and a limit chosen by `/token` must not be
# dodged with `/tok%65n`. Slashes, backslashes, dots and controls in disguise are attacks, once or twice encoded.
_UNSAFE_PATH = re.compile(
    rb"//|/\.{1,2}(?:/|$)|[;\\\"<>^`{|}#]|[^\x21-\x7e]|%(?![0-9A-Fa-f]{2})"
    rb"|%(?:[01][0-9A-Fa-f]|2[dDeEfF]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaCcFf]|6[1-9A-Fa-f]|7[0-9AaEeFf])"
    rb"|%25(?:[01][0-9A-Fa-f]|2[5eEfF]|5[cC])"
)
# Paths without ids come again and again.
_REMEMBERED, _REMEMBERED_BYTES = 4096, 128
_safe_paths: set[bytes] = set()
_UNSAFE_QUERY = re.compile(rb"[^\x21-\x7e]|#")
_NOTED = frozenset(
    (
        b"host",
        b"transfer-encoding",
        b"content-length",
        b"authorization",
        b"origin",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"cf-connecting-ip",
        b"x-request-id",
        b"connection",
        b"upgrade",
        b"expect",
        b"cookie",
        b"sec-fetch-mode",
        b"user-agent",
        b"access-control-request-method",
    )
)


class Fields:
    """The header fields of a request, and what follows from them alone.

    A client that asks again on its connection sends the same fields again, byte for byte: all of this is worked out
    once then. `sender` is for the policy, which keeps there what it found out about who sends them.
    """

    __slots__ = ("block", "headers", "host", "keep_alive", "length", "noted", "sender", "unclear", "upgrade", "version")

    def __init__(self, block: bytes = b"\r\n", version: bytes = b"1") -> None:
        """`block` ends with the empty line. Raises Malformed."""
        self.block = block
        self.version = version
        self.headers = split_lines(field_lines(block))
        """As they came, names in lower case."""
        noted: dict[bytes, list[bytes]] = {}
        for name, value in self.headers:
            if name in _NOTED:
                if name in noted:
                    noted[name].append(value)
                else:
                    noted[name] = [value]
        self.noted = noted
        """The few that decide something, all values of each."""
        self.host = _one_host(noted.get(b"host"), version)
        self.upgrade = False
        self.keep_alive = version == b"1"
        if b"connection" in noted:
            self._read_connection(noted[b"connection"])
        self.unclear = False
        """Where the body ends could be read in two ways."""
        self.length = 0
        """Of the body, or CHUNKED."""
        try:
            self.length = body_length(noted.get(b"content-length"), noted.get(b"transfer-encoding")) or 0
        except Malformed:
            self.unclear = True
        self.sender: Any = None

    def _read_connection(self, values: list[bytes]) -> None:
        options = {option.strip().lower() for value in values for option in value.split(b",")}
        self.upgrade = b"upgrade" in options and b"upgrade" in self.noted
        self.keep_alive = self.keep_alive and b"close" not in options and not self.upgrade

    def one(self, name: bytes) -> bytes | None:
        """The value of a noted header that was sent exactly once."""
        values = self.noted.get(name)
        return values[0] if values is not None and len(values) == 1 else None


class Head:
    __slots__ = ("fields", "method", "path", "target")

    def __init__(self, method: bytes, target: bytes, fields: Fields) -> None:
        self.method = method
        self.target = target
        self.fields = fields
        self.path = target.partition(b"?")[0]

    @property
    def headers(self) -> Headers:
        return self.fields.headers

    @property
    def noted(self) -> dict[bytes, list[bytes]]:
        return self.fields.noted

    def one(self, name: bytes) -> bytes | None:
        return self.fields.one(name)

    @property
    def chunked(self) -> bool:
        return self.fields.length == CHUNKED

    @property
    def socket(self) -> bool:
        return self.fields.upgrade and self.fields.noted[b"upgrade"][0].lower() == b"websocket"


def flaw(head: Head) -> ServiceError | None:
    """Why the request is refused before anything else is looked at. The connection does not survive it."""
    fields, target = head.fields, head.target
    if head.method not in _METHODS:
        return MethodUnknown()
    if fields.unclear or not fields.host or (fields.length == CHUNKED and fields.version != b"1"):
        return BadFraming()
    if fields.upgrade and (not head.socket or head.method != b"GET" or fields.length):
        return NotUpgradable()
    if target[:1] != b"/":
        return BadFraming()
    path = head.path
    if path not in _safe_paths and not _is_safe(path):
        return UnsafePath()
    if len(path) != len(target) and _UNSAFE_QUERY.search(target, len(path)):
        return UnsafePath()
    return None


def too_long(data: bytes) -> ServiceError | None:
    """Why no more of a head is waited for that has begun so."""
    if len(data) > _MAX_LINE_BYTES and data.find(b"\r\n", 2, _MAX_LINE_BYTES) == -1:
        return TargetTooLong()
    return HeadTooLarge() if len(data) > MAX_HEAD_BYTES else None


def _is_safe(path: bytes) -> bool:
    if _UNSAFE_PATH.search(path) or (b"%" in path and not _is_utf8(path)):
        return False
    if len(path) <= _REMEMBERED_BYTES:
        if len(_safe_paths) >= _REMEMBERED:
            _safe_paths.clear()
        _safe_paths.add(path)
    return True


def _one_host(hosts: list[bytes] | None, version: bytes) -> bool:
    if hosts is None:
        return version != b"1"
    return len(hosts) == 1 and _is_host(hosts[0])


@lru_cache(maxsize=1024)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


def _is_utf8(path: bytes) -> bool:
    try:
        unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
