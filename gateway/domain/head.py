"""The head of a request, and the checks that give it one meaning.

llhttp refuses what is malformed; the checks here refuse what is well-formed but could be read in two ways by two
parsers: a second Host, other transfer codings, an absolute target, an encoded slash. What passes is routed and sent as
it came.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from gateway.errors import BadFraming, MethodUnknown, NotUpgradable, UnsafePath
from libs.errors import ServiceError

Headers = list[tuple[bytes, bytes]]

_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
_HOST = re.compile(rb"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
# Unreserved characters have no reason to be encoded (RFC 3986, 6.2.2.2), and a limit chosen by `/token` must not be
# dodged with `/tok%65n`. Slashes, backslashes, dots and controls in disguise are attacks, once or twice encoded.
_UNSAFE_PATH = re.compile(
    rb"//|/\.{1,2}(?:/|$)|[;\\\"<>^`{|}#]|[^\x21-\x7e]|%(?![0-9A-Fa-f]{2})"
    rb"|%(?:[01][0-9A-Fa-f]|2[dDeEfF]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaCcFf]|6[1-9A-Fa-f]|7[0-9AaEeFf])"
    rb"|%25(?:[01][0-9A-Fa-f]|2[5eEfF]|5[cC])"
)
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


@dataclass(slots=True)
class Head:
    """`headers` as they came, names in lower case; `noted` has the few that decide something, all values of each."""

    method: bytes
    target: bytes
    headers: Headers
    version: str = "1.1"
    upgrade: bool = False
    path: bytes = b""
    noted: dict[bytes, list[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.path = self.target.partition(b"?")[0]
        noted = self.noted
        for name, value in self.headers:
            if name in _NOTED:
                if name in noted:
                    noted[name].append(value)
                else:
                    noted[name] = [value]

    def one(self, name: bytes) -> bytes | None:
        """The value of a noted header that was sent exactly once."""
        values = self.noted.get(name)
        return values[0] if values is not None and len(values) == 1 else None

    @property
    def chunked(self) -> bool:
        return b"transfer-encoding" in self.noted

    @property
    def length(self) -> int:
        """Of the body, where it is declared."""
        values = self.noted.get(b"content-length")
        return int(values[0]) if values else 0

    @property
    def socket(self) -> bool:
        return self.upgrade and self.noted.get(b"upgrade", [b""])[0].lower() == b"websocket"


def flaw(head: Head) -> ServiceError | None:
    """Why the request is refused before anything else is looked at. The connection does not survive it."""
    if head.method not in _METHODS:
        return MethodUnknown()
    if head.version not in ("1.1", "1.0") or not _one_host(head):
        return BadFraming()
    codings = head.noted.get(b"transfer-encoding")
    if codings is not None and (head.version == "1.0" or len(codings) > 1 or codings[0].lower() != b"chunked"):
        return BadFraming()
    if head.upgrade and (not head.socket or head.method != b"GET" or head.chunked or head.length):
        return NotUpgradable()
    if not head.target.startswith(b"/"):
        return BadFraming()
    if _UNSAFE_PATH.search(head.path) or (b"%" in head.path and not _is_utf8(head.path)):
        return UnsafePath()
    if len(head.path) != len(head.target) and _UNSAFE_QUERY.search(head.target, len(head.path)):
        return UnsafePath()
    return None


def _one_host(head: Head) -> bool:
    hosts = head.noted.get(b"host")
    if hosts is None:
        return head.version == "1.0"
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
