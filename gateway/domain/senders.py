"""Who sends a request, and what of its fields goes on: worked out once for fields that come again and again."""

import re
from dataclasses import dataclass, field

from gateway.domain.client_ip import Caller, Callers
from gateway.domain.cors import Origins
from gateway.domain.head import Fields
from gateway.domain.headers import kept_lines
from gateway.domain.hosts import Astray, Doorway
from gateway.domain.limits import Ask
from gateway.domain.wire import CHUNKED, Headers
from libs.cookies import ACCESS_COOKIE

_REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{8,64}")
_COOKIE = re.compile(rb"(?:^|;[ \t]*)" + ACCESS_COOKIE.encode() + rb"=([A-Za-z0-9_.-]+)")
# Some proxies name the scheme of the socket.
_SCHEMES = {b"http": b"http", b"https": b"https", b"ws": b"http", b"wss": b"https"}
_NO_HOST = [b"localhost"]
_SOCKET_LINES = b"connection: Upgrade\r\nupgrade: websocket\r\n"


@dataclass(slots=True)
class Sender:
    caller: Caller
    proto: bytes
    given_id: bytes | None
    """The request's id, where a trusted proxy has given one."""
    origin: Headers
    """What CORS adds to every answer."""
    lines: bytes
    """As the service gets them: what is kept, and ours but for the id and the country."""
    tls: bool
    """It came over TLS, where that is declared."""
    astray: Astray | None
    """Why it is at the wrong door, if it is."""
    bearer: bytes | None
    cookie: bytes | None
    asks: dict[tuple[tuple[str, ...], bool], Ask] = field(default_factory=dict)
    """What is asked of the limits, by their names and whether there is a good token."""
    policy: object = None
    """By which all this was worked out; another one has its own."""


def sender(fields: Fields, peer: str, *, callers: Callers, origins: Origins, doorway: Doorway) -> Sender:
    caller = callers.resolve(peer, fields.noted.get(b"x-forwarded-for", ()), fields.noted.get(b"cf-connecting-ip", ()))
    proto, given = b"http", None
    if caller.peer_trusted:
        proto = _SCHEMES.get((fields.one(b"x-forwarded-proto") or b"http").lower(), b"http")
        given = fields.one(b"x-request-id")
        if given is not None and not _REQUEST_ID.fullmatch(given):
            given = None
    bearer = _bearer(fields.one(b"authorization"))
    return Sender(
        caller=caller,
        proto=proto,
        given_id=given,
        origin=origins.headers(fields.one(b"origin")),
        lines=kept_lines(fields.headers, fields.noted.get(b"connection")) + _own_lines(fields, caller.raw, proto),
        tls=doorway.https and proto == b"https",
        astray=doorway.astray(fields, trusted=caller.peer_trusted),
        bearer=bearer,
        cookie=None if fields.one(b"authorization") is not None else _cookie(fields.noted.get(b"cookie", ())),
    )


def _bearer(value: bytes | None) -> bytes | None:
    return value[7:].strip() if value is not None and value[:7].lower() == b"bearer " else None


def _cookie(lines: "list[bytes] | tuple[()]") -> bytes | None:
    for line in lines:
        match = _COOKIE.search(line)
        if match is not None:
            return match[1]
    return None


def _own_lines(fields: Fields, client: bytes, proto: bytes) -> bytes:
    # Only an HTTP/1.0 client may send none, and HTTP/1.1 towards the service needs one.
    host = fields.noted.get(b"host", _NO_HOST)[0]
    return b"host: %s\r\nx-forwarded-for: %s\r\nx-forwarded-proto: %s\r\nx-forwarded-host: %s\r\n%s" % (
        host,
        client,
        proto,
        host,
        _framing(fields),
    )


def _framing(fields: Fields) -> bytes:
    if fields.upgrade:
        return _SOCKET_LINES
    if fields.length == CHUNKED:
        return b"transfer-encoding: chunked\r\n"
    if b"content-length" in fields.noted:
        return b"content-length: %d\r\n" % fields.length
    return b""
