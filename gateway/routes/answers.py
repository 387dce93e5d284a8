"""The bytes of answers: those that the gateway gives itself, and the heads of those that it passes on."""

from gateway.domain.headers import AnswerFields, first_line, joined
from gateway.domain.policy import Facts
from gateway.domain.wire import Headers
from libs.edge import SECURITY_HEADERS
from libs.errors import RateLimited, ServiceError
from libs.families import Family, family_of, render

HSTS = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
_SECURITY = joined(list(SECURITY_HEADERS))
_SECURITY_OVER_TLS = joined([*SECURITY_HEADERS, HSTS])
_CLOSE = b"connection: close\r\n"
_NO_QUERIES = b"x-database-queries: 0\r\nx-query-time: 0.000s\r\n"
_FRAMING = frozenset((b"content-length", b"transfer-encoding", b"connection"))
_ID = "00000000-0000-0000-0000-000000000000"
_MOST_RENDERED = 1024
_rendered: dict[tuple[object, ...], tuple[int, bytes, list[bytes]]] = {}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def refusal(error: ServiceError, path: bytes, request_id: bytes) -> tuple[int, bytes, bytes]:
    """Its status, header lines and body, in the shape of the family of clients that owns the path."""
    family = family_of(path.decode("latin-1"))
    # What the gateway itself refuses with hangs on these alone; a flood of refusals is rendered once.
    allowed = error.allowed if isinstance(error, RateLimited) else None
    known = (
        family,
        type(error),
        error.detail,
        allowed,
        *error.headers.items(),
        str(error.extra) if error.extra else "",
    )
    found = _rendered.get(known)
    if found is None:
        if len(_rendered) >= _MOST_RENDERED:
            _rendered.clear()
        found = _rendered[known] = _render(family, error)
    status, lines, body = found
    return status, lines, request_id.join(body)


def _render(family: Family, error: ServiceError) -> tuple[int, bytes, list[bytes]]:
    """The body in pieces, with the request's id to come between them."""
    rendered = render(family, error, _ID)
    headers = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in rendered.headers.items()]
    return rendered.status, joined(headers), rendered.body.split(_ID.encode())


def own_answer(
    status: int, lines: bytes, body: bytes, *, facts: Facts, date: bytes, keep_alive: bool, head_only: bool
) -> bytes:
    """`lines`: the header fields beside those of every answer; they say how long it took."""
    length = b"" if status == 204 else b"content-length: %d\r\n" % len(body)
    return b"%s%s%s%sdate: %s\r\nx-request-id: %s\r\n%s%s\r\n%s" % (
        first_line(status),
        lines,
        length,
        _SECURITY_OVER_TLS if facts.sender.tls else _SECURITY,
        date,
        facts.request_id,
        _NO_QUERIES,
        b"" if keep_alive else _CLOSE,
        b"" if head_only else body,
    )


def forwarded_head(
    status: int,
    fields: AnswerFields,
    headers: Headers,
    *,
    facts: Facts,
    lines: bytes,
    date: bytes,
    keep_alive: bool,
) -> bytes:
    """`headers`: ours, unless the service has said them; `lines`: ours in any case."""
    said = fields.said
    theirs = fields.lines
    if headers:
        theirs += [b"%s: %s" % field for field in headers if field[0] not in said or field[0] == b"vary"]
    if b"date" not in said:
        theirs.append(b"date: " + date)
    return b"%s%s\r\n%s%sx-request-id: %s\r\n%s\r\n" % (
        first_line(status),
        b"\r\n".join(theirs),
        lines,
        _SECURITY_OVER_TLS if facts.sender.tls else _SECURITY,
        facts.request_id,
        b"" if keep_alive else _CLOSE,
    )


def page_head(status: int, headers: Headers, ours: Headers, *, framing: bytes, date: bytes, keep_alive: bool) -> bytes:
    """Of an application of our own: its security headers and its id stand, for it knows what its pages need."""
    names = {name for name, _ in headers}
    fields = [field for field in headers if field[0] not in _FRAMING]
    fields += [field for field in (*ours, (b"date", date)) if field[0] not in names]
    return b"%s%s%s%s\r\n" % (
        first_line(status),
        joined(fields),
        framing,
        b"" if keep_alive else _CLOSE,
    )


def switched_head(fields: AnswerFields, *, facts: Facts, date: bytes) -> bytes:
    framing = b"connection: Upgrade\r\nupgrade: websocket\r\n"
    return forwarded_head(101, fields, [], facts=facts, lines=framing, date=date, keep_alive=True)
