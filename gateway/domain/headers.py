"""What travels on and what does not, in both directions.

Names that the services trust (who calls, from where, under which id) are removed from what clients send, in every
spelling, and set anew. Hop-by-hop fields go, by name and by what `Connection` lists; framing is always our own.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple, TypeVar

from gateway.domain.verdicts import LIMIT_NAMES
from gateway.domain.wire import Headers, Malformed, body_length

_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    )
)
_REQUEST_DROPPED = _HOP | {
    b"host",
    b"content-length",
    b"expect",
    b"forwarded",
    b"proxy",
    b"via",
    b"true-client-ip",
    b"cf-connecting-ip",
    b"cf-ipcountry",
    b"fastly-client-ip",
    b"x-real-ip",
    b"x-client-ip",
    b"x-cluster-client-ip",
    b"x-client-country",
    b"x-country",
    b"x-request-id",
    b"x-service-authorization",
    b"x-original-url",
    b"x-rewrite-url",
    b"x-http-method",
    b"x-http-method-override",
    b"x-method-override",
}
_REQUEST_PREFIXES = (b"x-forwarded-", b"x-user-", b"x-auth-", b"x-internal-", b"x-original-")
# The gateway's own take their place on every answer.
_RESPONSE_DROPPED = _HOP | {
    b"server",
    b"x-powered-by",
    b"x-request-id",
    b"x-content-type-options",
    b"x-frame-options",
    b"x-xss-protection",
    b"referrer-policy",
    b"content-security-policy",
    b"strict-transport-security",
    b"content-length",
    b"via",
}
_RESPONSE_PREFIXES = (b"access-control-", b"x-accel-", b"x-internal-")
_MOST_NAMES = 4096
# What becomes of a field of an answer.
_KEPT, _DROPPED, _SAID, _FRAMING = range(4)
_FRAMING_NAMES = frozenset((b"content-length", b"transfer-encoding", b"connection", b"upgrade"))
_SAID_NAMES = frozenset((b"date", b"retry-after", b"vary")) | LIMIT_NAMES
_KEEP_ALIVE = [b"keep-alive"]
# Lines that come again and again as they are, at least for a second or for answers of one length.
_STEADY_NAMES = frozenset(
    (
        b"cache-control",
        b"connection",
        b"content-length",
        b"content-security-policy",
        b"content-type",
        b"date",
        b"referrer-policy",
        b"server",
        b"x-content-type-options",
        b"x-frame-options",
        b"x-xss-protection",
    )
)
_USUAL_OPTIONS = frozenset((b"close", b"keep-alive", b"upgrade", b""))

Kind = TypeVar("Kind")


def _kept_request(name: bytes) -> bool:
    # A service behind may fold `_` into `-`, so that `x_user_id` would become the name that it trusts.
    return not (name in _REQUEST_DROPPED or name.startswith(_REQUEST_PREFIXES) or b"_" in name)


def _role(name: bytes) -> int:
    if name in _FRAMING_NAMES:
        return _FRAMING
    if name in _RESPONSE_DROPPED or name.startswith(_RESPONSE_PREFIXES):
        return _DROPPED
    return _SAID if name in _SAID_NAMES else _KEPT


class _Names(dict[bytes, Kind]):
    """What `kind` says of each name seen; names repeat, so nearly every request is look-ups only."""

    def __init__(self, kind: Callable[[bytes], Kind]) -> None:
        self._kind = kind

    def __missing__(self, name: bytes) -> Kind:
        if len(self) >= _MOST_NAMES:
            self.clear()
        kind = self[name] = self._kind(name)
        return kind


_request_names = _Names(_kept_request)
_roles = _Names(_role)
_PLAIN_CONNECTION = frozenset((b"keep-alive", b"close", b"upgrade", b"Upgrade", b"Keep-Alive", b"keep-alive, Upgrade"))


def kept_lines(headers: Headers, connection: list[bytes] | None) -> bytes:
    """The fields of a request that go on to the service, each with its line end."""
    names = _request_names
    listed = _listed(connection)
    return b"".join(
        [b"%s: %s\r\n" % field for field in headers if names[field[0]] and (not listed or field[0] not in listed)]
    )


class _Line(NamedTuple):
    role: int
    name: bytes
    value: bytes


_steady_lines: dict[bytes, _Line] = {}


class AnswerFields(NamedTuple):
    lines: list[bytes]
    """Those that go on to the client, as they came."""
    said: set[bytes]
    """Names among them that the gateway would say something of too."""
    length: int | None
    """Of the body, CHUNKED, or None: until the connection ends."""
    keep_alive: bool
    socket: bool


def answer_fields(lines: list[bytes], version: bytes) -> AnswerFields:
    """Of a service's answer. Raises Malformed where the end of its body could be read in two ways."""
    kept: list[bytes] = []
    said: set[bytes] = set()
    framing: dict[bytes, list[bytes]] = {}
    for line in lines:
        role, name, value = _steady_lines.get(line) or _sorted(line)
        if role == _KEPT:
            kept.append(line)
        elif role == _FRAMING:
            framing.setdefault(name, []).append(value)
        elif role == _SAID:
            kept.append(line)
            said.add(name)
    codings = framing.get(b"transfer-encoding")
    if codings is not None and version != b"1":
        raise Malformed
    length = body_length(framing.get(b"content-length"), codings)
    connection = framing.get(b"connection")
    if connection is None or connection == _KEEP_ALIVE:
        return AnswerFields(kept, said, length, version == b"1", socket=False)
    options = {option.strip().lower() for value in connection for option in value.split(b",")}
    listed = options - _USUAL_OPTIONS
    if listed:
        kept = [line for line in kept if line[: line.index(b":")].lower() not in listed]
    socket = b"upgrade" in options and [each.lower() for each in framing.get(b"upgrade", ())] == [b"websocket"]
    return AnswerFields(kept, said, length, version == b"1" and b"close" not in options, socket)


def _sorted(line: bytes) -> _Line:
    name, _, value = line.partition(b":")
    name = name.lower()
    found = _Line(_roles[name], name, value.strip(b" \t"))
    if name in _STEADY_NAMES:
        if len(_steady_lines) >= _MOST_NAMES:
            _steady_lines.clear()
        _steady_lines[line] = found
    return found


def first_line(status: int) -> bytes:
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def joined(headers: Headers) -> bytes:
    return b"".join([b"%s: %s\r\n" % field for field in headers])


def _listed(connection: list[bytes] | None) -> frozenset[bytes]:
    """Names that the sender declared hop-by-hop. The common values list none, and cost one look-up."""
    if not connection or (len(connection) == 1 and connection[0] in _PLAIN_CONNECTION):
        return frozenset()
    return frozenset(token.strip().lower() for value in connection for token in value.split(b","))


_STATUS_LINES = {int(status): b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
