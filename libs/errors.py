"""Every way Parley says no.

    ServiceError
    ├── BadRequest 400            ├── PreconditionFailed 412
    ├── Unauthenticated 401       ├── PayloadTooLarge 413
    ├── Forbidden 403             ├── UnsupportedMediaType 415
    ├── NotFound 404              ├── Invalid 422
    ├── MethodNotAllowed 405      ├── RateLimited 429
    ├── Conflict 409              ├── ServerFault 500
    └── Gone 410                  └── Unavailable 503

A service derives its own from these. `code` is for programs and never changes, `detail` is for people. Neither repeats
what the caller sent, nor says more than the caller may know.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field; `field` is its path, as in `items.0.name`."""

    field: str
    message: str


class ServiceError(Exception):
    status: ClassVar[int] = 500
    code: ClassVar[str] = "server_error"
    detail: str = "Internal server error"

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        self.detail = detail or type(self).detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})
        super().__init__(self.detail)


class BadRequest(ServiceError):
    status = 400
    code = "bad_request"
    detail = "The request cannot be understood."


class Unauthenticated(ServiceError):
    status = 401
    code = "not_authenticated"
    detail = "Authentication credentials were not provided."


class InvalidToken(Unauthenticated):
    code = "invalid_token"
    detail = "Invalid access token"


class TokenExpired(Unauthenticated):
    code = "token_expired"
    detail = "Access token has expired"


class WrongTokenType(Unauthenticated):
    code = "wrong_token_type"
    detail = "This kind of token is not accepted here."


class TokenRevoked(Unauthenticated):
    code = "token_revoked"
    detail = "This session has ended."


class TokenStale(Unauthenticated):
    """The session goes on: refreshing it gives a token that says what holds now."""

    code = "token_stale"
    detail = "This token is out of date. Refresh it."


class Forbidden(ServiceError):
    status = 403
    code = "permission_denied"
    detail = "You do not have permission to perform this action."


class NotFound(ServiceError):
    status = 404
    code = "not_found"
    detail = "Not found."


class MethodNotAllowed(ServiceError):
    status = 405
    code = "method_not_allowed"
    detail = "This method is not allowed here."


class Conflict(ServiceError):
    status = 409
    code = "conflict"
    detail = "This conflicts with the current state."


class Gone(ServiceError):
    status = 410
    code = "gone"
    detail = "This is no longer available."


class PreconditionFailed(ServiceError):
    status = 412
    code = "precondition_failed"
    detail = "This has changed since you read it."


class PayloadTooLarge(ServiceError):
    status = 413
    code = "payload_too_large"
    detail = "Request body is too large."


class UnsupportedMediaType(ServiceError):
    status = 415
    code = "unsupported_media_type"
    detail = "Send JSON with the content type application/json."


class Invalid(ServiceError):
    status = 422
    code = "validation_error"
    detail = "Validation failed"


class MalformedBody(Invalid):
    detail = "Request body is not valid JSON"


class RateLimited(ServiceError):
    status = 429
    code = "rate_limited"

    def __init__(
        self, retry_after: int, *, allowed: tuple[int, int] | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """`retry_after`: whole seconds until a request can succeed. `allowed`: how many may, in how many seconds."""
        self.retry_after = retry_after
        self.allowed = allowed
        super().__init__(
            f"Request was throttled. Expected available in {retry_after} seconds.",
            headers={"Retry-After": str(retry_after), **(headers or {})},
        )


class ServerFault(ServiceError):
    """A fault of ours; the log has the cause under the same request id, the answer never does."""


class BadGateway(ServiceError):
    status = 502
    code = "bad_gateway"
    detail = "The service behind gave no proper answer."


class Unavailable(ServiceError):
    status = 503
    code = "unavailable"
    detail = "Service unavailable"

    def __init__(self, detail: str | None = None, *, retry_after: int = 1) -> None:
        self.retry_after = retry_after
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class GatewayTimeout(ServiceError):
    status = 504
    code = "gateway_timeout"
    detail = "The service behind did not answer in time."


def sentence_of(error: Any) -> str:
    """What one error of a model says to people."""
    if error["type"] == "extra_forbidden":
        return "This field is not known."
    if error["type"] == "missing":
        return "This field is required."
    return str(error["msg"]).removeprefix("Value error, ")
