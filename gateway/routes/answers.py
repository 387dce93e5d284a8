"""The bytes of answers: those that the gateway gives itself, and the heads of those that it passes on."""

from gateway.domain.head import Headers
from gateway.domain.headers import joined, kept, status_line
from libs.edge import SECURITY_HEADERS
from libs.errors import ServiceError
from libs.families import family_of, render

_SECURITY = joined(list(SECURITY_HEADERS))
_CLOSE = b"connection: close\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def refusal(error: ServiceError, path: bytes, request_id: bytes) -> tuple[int, Headers, bytes]:
    """In the shape of the family of clients that owns the path."""
    rendered = render(family_of(path.decode("latin-1")), error, request_id.decode("ascii"))
    headers = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in rendered.headers.items()]
    return rendered.status, headers, rendered.body


def own_answer(
    status: int, headers: Headers, body: bytes, *, request_id: bytes, date: bytes, keep_alive: bool, head_only: bool
) -> bytes:
    length = b"" if status == 204 else b"content-length: %d\r\n" % len(body)
    return b"%s%s%s%sdate: %s\r\nx-request-id: %s\r\nx-request-duration: 0.000s\r\n%s\r\n%s" % (
        status_line(status),
        joined(headers),
        length,
        _SECURITY,
        date,
        request_id,
        b"" if keep_alive else _CLOSE,
        b"" if head_only else body,
    )


def forwarded_head(
    status: int,
    upstream: Headers,
    headers: Headers,
    *,
    framing: bytes,
    request_id: bytes,
    date: bytes,
    keep_alive: bool,
) -> bytes:
    """`headers`: ours beside the security headers. Limits that a service counts itself stand: it knows more."""
    fields = kept(upstream)
    names = {name for name, _ in fields}
    ours = [field for field in headers if field[0] not in names or field[0] == b"vary"]
    return b"%s%s%s%s%s%sx-request-id: %s\r\n%s\r\n" % (
        status_line(status),
        joined(fields),
        joined(ours),
        framing,
        _SECURITY,
        b"" if b"date" in names else b"date: %s\r\n" % date,
        request_id,
        b"" if keep_alive else _CLOSE,
    )


def switched_head(upstream: Headers, *, request_id: bytes, date: bytes) -> bytes:
    framing = b"connection: Upgrade\r\nupgrade: websocket\r\n"
    return forwarded_head(101, upstream, [], framing=framing, request_id=request_id, date=date, keep_alive=True)
