"""Answers that several routes give."""

from fastapi import Response

from auth_service.deps import DEVICE_COOKIE, DEVICE_HEADER
from auth_service.domain.tokens import Pair
from auth_service.schemas.tokens import Tokens

_YEAR_SECONDS = 365 * 24 * 3600


def signed_in(pair: Pair, response: Response) -> Tokens:
    """The tokens of a session that has just begun."""
    remember_device(pair.device_token, response)
    return Tokens.of(pair)


def remember_device(token: str | None, response: Response) -> None:
    """Part of every answer that signs somebody in. Programs keep the header and send it with the next sign-in, browsers
    do so with the cookie by themselves."""
    if token is None:
        return
    response.headers[DEVICE_HEADER] = token
    response.set_cookie(
        DEVICE_COOKIE, token, max_age=_YEAR_SECONDS, path="/", secure=True, httponly=True, samesite="lax"
    )
