"""What is said of tokens."""

from pydantic import BaseModel


class Introspection(BaseModel):
    """`active` false comes alone: why a token is worth nothing is nobody's business."""

    active: bool
    token_type: str | None = None
    scope: str | None = None
    iss: str | None = None
    aud: str | None = None
    sub: str | None = None
    sid: str | None = None
    jti: str | None = None
    iat: int | None = None
    nbf: int | None = None
    exp: int | None = None
    roles: list[str] | None = None
    amr: list[str] | None = None
    aal: int | None = None
    act: dict[str, str] | None = None
