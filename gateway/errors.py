"""Every way the gateway says no, ordered by status. The common ones (401, 413, 429, 502-504) are in `libs.errors`."""

from libs.errors import BadRequest, Forbidden, MethodNotAllowed, ServiceError, Unavailable


class MovedToHttps(ServiceError):
    status = 308
    code = "moved_to_https"
    detail = "This is served over https only."


class BadFraming(BadRequest):
    """The message has no single meaning. What a parser behind could read differently is refused, never repaired."""

    code = "bad_request"
    detail = "This is not a well-formed HTTP/1.1 request."


class UnsafePath(BadRequest):
    code = "unsafe_path"
    detail = "The path must be written in its plain form."


class NotUpgradable(BadRequest):
    code = "upgrade_refused"
    detail = "The connection cannot be upgraded here."


class HttpsRequired(Forbidden):
    """For what cannot be sent elsewhere: no socket follows a redirect."""

    code = "https_required"
    detail = "This is served over https only."


class CountryBlocked(Forbidden):
    code = "country_blocked"
    detail = "This service is not available in your region."


class CountryBlockedByLaw(CountryBlocked):
    """Where the deployment's rules say 451."""

    status = 451


class OriginRefused(Forbidden):
    code = "origin_refused"
    detail = "Pages of this origin may not open a socket."


class MethodUnknown(MethodNotAllowed):
    detail = "This method is not allowed."


class SlowRequest(ServiceError):
    status = 408
    code = "request_timeout"
    detail = "The request did not arrive in time."


class TargetTooLong(ServiceError):
    status = 414
    code = "uri_too_long"
    detail = "The request target is too long."


class Misdirected(ServiceError):
    status = 421
    code = "misdirected"
    detail = "Nothing is served under this host."


class TooManySockets(ServiceError):
    """How long that lasts is in nobody's hands but the caller's own."""

    status = 429
    code = "too_many_sockets"
    detail = "Too many open sockets."


class TooManyConnections(ServiceError):
    """Of one address."""

    status = 429
    code = "too_many_connections"
    detail = "Too many open connections."


class HeadTooLarge(ServiceError):
    status = 431
    code = "headers_too_large"
    detail = "The request has too many headers, or too large ones."


class ConnectionsExhausted(Unavailable):
    """Of all callers together."""

    code = "connections_exhausted"
    detail = "Too many connections are open. Try again in a moment."


class Overloaded(Unavailable):
    code = "overloaded"
    detail = "Too much is asked at the moment. Try again soon."
