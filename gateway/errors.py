"""Every way the gateway says no, ordered by status. The common ones (401, 413, 429, 502-504) are in `libs.errors`."""

from libs.errors import BadRequest, Forbidden, MethodNotAllowed, ServiceError


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


class CountryBlocked(Forbidden):
    code = "country_blocked"
    detail = "This service is not available in your region."


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


class HeadTooLarge(ServiceError):
    status = 431
    code = "headers_too_large"
    detail = "The request has too many headers, or too large ones."
