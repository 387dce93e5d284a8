"""Tokens for programs, `pat_...`: long-lived, scoped, known to auth alone and remembered here for a minute."""

import hashlib
import re
from collections.abc import Awaitable, Callable, Collection

from libs.clock import Clock
from libs.contracts.accounts import ApiTokenFacts
from libs.csrf import SAFE_METHODS
from libs.errors import Forbidden, InvalidToken
from libs.tokens import Claims

PREFIX = "pat_"
INTROSPECT = "introspect"
INTROSPECTION_PATH = "/api/v1/auth/introspect"
SCOPES = ("auth:read", "auth:write", "chat:read", "chat:write", "notify:read", "notify:write", "admin", INTROSPECT)
REMEMBERED_SECONDS = 60.0
_UNKNOWN_SECONDS = 10.0
_MOST_REMEMBERED = 10_000
_SHAPE = re.compile(r"pat_[A-Za-z0-9_-]{43}")
# Of a token without an end; what reads it wants a number.
_NO_END_SECONDS = 10 * 365 * 86_400

Resolve = Callable[[str], Awaitable[ApiTokenFacts]]


class InsufficientScope(Forbidden):
    code = "insufficient_scope"
    detail = "This API token does not have the scope for this."

    def __init__(self, *scopes: str) -> None:
        super().__init__(extra={"scopes": list(scopes)})


class ApiTokens:
    """`resolve` asks auth. Answers are kept under the token's hash, at most `remember` seconds and ten thousand."""

    def __init__(self, resolve: Resolve, clock: Clock, *, remember: float = REMEMBERED_SECONDS) -> None:
        self._resolve = resolve
        self._clock = clock
        self._remember = remember
        self._known: dict[bytes, tuple[float, Claims | None]] = {}

    async def claims(self, token: str, *, anew: bool = False) -> Claims:
        """Raises InvalidToken. `anew`: what is remembered is out of date."""
        if _SHAPE.fullmatch(token) is None:
            raise InvalidToken
        key = hashlib.sha256(token.encode()).digest()
        now = self._clock.seconds()
        until, claims = self._known.get(key, (0.0, None))
        if anew or until <= now:
            claims = self._claims_of(await self._resolve(token))
            self._keep(key, claims, now)
        if claims is None or claims.exp <= now:
            raise InvalidToken
        return claims

    def _keep(self, key: bytes, claims: Claims | None, now: float) -> None:
        self._known.pop(key, None)
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.pop(next(iter(self._known)))
        kept = self._remember if claims is not None else min(self._remember, _UNKNOWN_SECONDS)
        self._known[key] = (now + kept, claims)

    def _claims_of(self, facts: ApiTokenFacts) -> Claims | None:
        if not facts.active:
            return None
        now_ms = self._clock.ms()
        return Claims(
            sub=str(facts.user_id),
            sid=str(facts.token_id),
            exp=facts.exp or now_ms // 1000 + _NO_END_SECONDS,
            # What holds for the owner is as fresh as this answer.
            iat_ms=now_ms,
            # Without the scope nobody acts as staff, whatever their roles.
            roles=tuple(facts.roles) if "admin" in facts.scopes else ("user",),
            values={"scopes": facts.scopes, "sub": str(facts.user_id), "sid": str(facts.token_id)},
        )


def require_scope(scopes: Collection[str], service: str, method: str, path: str) -> None:
    """GET and HEAD read, everything else writes; what staff do needs `admin`, and asking about tokens `introspect`."""
    needed = f"{service}:{_verb(method)}"
    if path.startswith("/api/v1/admin"):
        needed = "admin"
    elif path.rstrip("/") == INTROSPECTION_PATH:
        needed = INTROSPECT
    if needed not in scopes:
        raise InsufficientScope(needed)


def require_both(scopes: Collection[str], service: str) -> None:
    """For a socket, which reads and writes."""
    needed = [f"{service}:read", f"{service}:write"]
    if not set(needed) <= set(scopes):
        raise InsufficientScope(*needed)


def _verb(method: str) -> str:
    return "read" if method in SAFE_METHODS else "write"
