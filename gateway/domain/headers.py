"""What travels on and what does not, in both directions.

Names that the services trust (who calls, from where, under which id) are removed from what clients send, in every
spelling, and set anew. Hop-by-hop fields go, by name and by what `Connection` lists; framing is always our own.
"""

from collections.abc import Callable
from http import HTTPStatus

from gateway.domain.head import Head, Headers

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


def _kept_request(name: bytes) -> bool:
    # A service behind may fold `_` into `-`, so that `x_user_id` would become the name that it trusts.
    return not (name in _REQUEST_DROPPED or name.startswith(_REQUEST_PREFIXES) or b"_" in name)


def _kept_response(name: bytes) -> bool:
    return not (name in _RESPONSE_DROPPED or name.startswith(_RESPONSE_PREFIXES))


class _Names(dict[bytes, bool]):
    """The answer of `keep` for each name seen; names repeat, so nearly every request is look-ups only."""

    def __init__(self, keep: Callable[[bytes], bool]) -> None:
        self._keep = keep

    def __missing__(self, name: bytes) -> bool:
        if len(self) >= _MOST_NAMES:
            self.clear()
        kept = self[name] = self._keep(name)
        return kept


_request_names = _Names(_kept_request)
_response_names = _Names(_kept_response)
_PLAIN_CONNECTION = frozenset((b"keep-alive", b"close", b"upgrade", b"Upgrade", b"Keep-Alive", b"keep-alive, Upgrade"))
_NO_HOST = [b"localhost"]
_SOCKET_LINES = b"connection: Upgrade\r\nupgrade: websocket\r\n"


def upstream_head(head: Head, own: bytes) -> bytes:
    """The request as the service gets it. `own` are our lines, ready made, each with its line end."""
    names = _request_names
    listed = _listed(head.noted.get(b"connection"))
    lines = [
        b"%s: %s\r\n" % field for field in head.headers if names[field[0]] and (not listed or field[0] not in listed)
    ]
    return b"%s %s HTTP/1.1\r\n%s%s%s\r\n" % (head.method, head.target, b"".join(lines), own, _framing(head))


def own_lines(head: Head, *, client: bytes, proto: bytes, request_id: bytes, country: str | None) -> bytes:
    # Only an HTTP/1.0 client may send none, and HTTP/1.1 towards the service needs one.
    host = head.noted.get(b"host", _NO_HOST)[0]
    lines = (
        b"host: %s\r\nx-forwarded-for: %s\r\nx-forwarded-proto: %s\r\nx-forwarded-host: %s\r\nx-request-id: %s\r\n"
        % (host, client, proto, host, request_id)
    )
    return lines if country is None else b"%sx-client-country: %s\r\n" % (lines, country.encode())


def kept(headers: Headers) -> Headers:
    """The fields of an upstream's answer that go on to the client."""
    names = _response_names
    listed = _listed([value for name, value in headers if name == b"connection"])
    return [field for field in headers if names[field[0]] and (not listed or field[0] not in listed)]


def status_line(status: int) -> bytes:
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def joined(headers: Headers) -> bytes:
    return b"".join([b"%s: %s\r\n" % field for field in headers])


def _framing(head: Head) -> bytes:
    if head.socket:
        return _SOCKET_LINES
    if head.chunked:
        return b"transfer-encoding: chunked\r\n"
    if b"content-length" in head.noted:
        return b"content-length: %d\r\n" % head.length
    return b""


def _listed(connection: list[bytes] | None) -> frozenset[bytes]:
    """Names that the sender declared hop-by-hop. The common values list none, and cost one look-up."""
    if not connection or (len(connection) == 1 and connection[0] in _PLAIN_CONNECTION):
        return frozenset()
    return frozenset(token.strip().lower() for value in connection for token in value.split(b","))


_STATUS_LINES = {int(status): b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
