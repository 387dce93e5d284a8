"""Signing and checking tokens. The only module that knows JOSE.

A token is checked in this order, cheapest first: size and alphabet, header (exactly `alg`, `kid`, `typ`), one key with
one algorithm by `kid`, signature, claims with their types, times. Which kind of token it is (`typ`) is part of the
check, so a service token can never pass as an access token, nor the reverse.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import uuid4

import orjson
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.util import urlsafe_b64decode, urlsafe_b64encode

from libs.clock import Clock
from libs.errors import InvalidToken, TokenExpired, WrongTokenType
from libs.keys import USER, Key, KeyRing, KeySource

ISSUER = "parley"
AUDIENCE = "parley"
ACCESS = "at+jwt"
SERVICE = "svc+jwt"
SERVICE_SECONDS = 300
SERVICE_HEADER = "X-Service-Authorization"

_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_MAX_CHARS = 4096
# How far the clocks of two machines may stand apart.
_LEEWAY_SECONDS = 30
_CACHED_TOKENS = 20_000
_REGISTRIES = {alg: jws.JWSRegistry(algorithms=[alg]) for alg in ("HS256", "ES256")}


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says. `values` has every claim; the fields are those that each request reads."""

    sub: str
    sid: str
    exp: int
    iat_ms: int
    roles: tuple[str, ...]
    values: Mapping[str, object]


class Issuer:
    """Signs with the active key of one owner."""

    def __init__(self, ring: KeyRing, owner: str = USER, typ: str = ACCESS) -> None:
        self._ring = ring
        self._owner = owner
        self._typ = typ
        # The same for all tokens of a key.
        self._header: tuple[str, bytes] = ("", b"")

    def sign(self, claims: Mapping[str, object]) -> str:
        key = self._ring.signing_key(self._owner)
        if self._header[0] != key.kid:
            header = {"alg": key.alg, "kid": key.kid, "typ": self._typ}
            self._header = key.kid, urlsafe_b64encode(orjson.dumps(header))
        signed = self._header[1] + b"." + urlsafe_b64encode(orjson.dumps(claims))
        signature = _REGISTRIES[key.alg].get_alg(key.alg).sign(signed, key.jwk)
        return (signed + b"." + urlsafe_b64encode(signature)).decode()


class Verifier:
    """Checks tokens of one kind for one audience and remembers those that passed until they expire.

    The memory is keyed by the exact text of the token: a copy with another signature encoding is checked again.
    Revocation is not its business (`libs.revocation`), so a remembered token is still refused once it is revoked.
    """

    def __init__(self, keys: KeySource, clock: Clock, *, typ: str = ACCESS, audience: str = AUDIENCE) -> None:
        self._keys = keys
        self._clock = clock
        self._typ = typ
        self._audience = audience
        self._passed: dict[str, Claims] = {}
        # A key signs all its tokens of a kind under one header, to the byte. Kept once a signature stood below it.
        self._headers: dict[str, tuple[Key, object]] = {}
        self._generation = keys.generation

    def verify(self, token: str) -> Claims:
        now = self._clock.seconds()
        if self._keys.generation != self._generation:
            self._generation = self._keys.generation
            self._passed.clear()
            self._headers.clear()
        known = self._passed.get(token)
        if known is not None:
            if known.exp + _LEEWAY_SECONDS > now:
                return known
            del self._passed[token]
        claims = self._check(token, now)
        if len(self._passed) >= _CACHED_TOKENS:
            # The oldest entry goes: dictionaries keep the order of insertion, and old tokens expire first.
            self._passed.pop(next(iter(self._passed)))
        self._passed[token] = claims
        return claims

    def _check(self, token: str, now: float) -> Claims:
        if len(token) > _MAX_CHARS or _SHAPE.fullmatch(token) is None:
            raise InvalidToken
        first = token.partition(".")[0]
        key, typ = self._headers.get(first) or self._read_header(first)
        try:
            signed = jws.deserialize_compact(token, key.jwk, registry=_REGISTRIES[key.alg])
        except (JoseError, ValueError):
            raise InvalidToken from None
        self._headers[first] = key, typ
        if typ != self._typ:
            raise WrongTokenType
        claims = _object(signed.payload)
        # A service speaks for itself only: its key never signs for users, nor for another service.
        if key.owner != (claims.get("sub") if self._typ == SERVICE else USER):
            raise InvalidToken
        return self._accept(claims, now)

    def _read_header(self, segment: str) -> tuple[Key, object]:
        header = _json_object(segment)
        if header.keys() != {"alg", "kid", "typ"}:
            raise InvalidToken
        kid = header["kid"]
        key = self._keys.find(kid) if isinstance(kid, str) else None
        if key is None or header["alg"] != key.alg:
            raise InvalidToken
        return key, header["typ"]

    def _accept(self, claims: dict[str, object], now: float) -> Claims:
        sub, sid, exp = claims.get("sub"), claims.get("sid", ""), claims.get("exp")
        iat, nbf, iat_ms = claims.get("iat"), claims.get("nbf"), claims.get("iat_ms", 0)
        texts = isinstance(sub, str) and isinstance(sid, str) and isinstance(claims.get("jti"), str)
        # `type(..) is int`: a bool is an int to Python, and a float may be infinite.
        numbers = all(type(value) is int for value in (exp, iat, nbf, iat_ms))
        if not (texts and numbers and claims.get("iss") == ISSUER and claims.get("aud") == self._audience):
            raise InvalidToken
        if self._typ == ACCESS and not (sid and iat_ms and claims.get("type") == "access"):
            raise InvalidToken
        if exp + _LEEWAY_SECONDS <= now:  # type: ignore[operator]
            raise TokenExpired
        if max(nbf, iat) - _LEEWAY_SECONDS > now:  # type: ignore[call-overload]
            raise InvalidToken
        roles = claims.get("roles", [])
        if not isinstance(roles, list):
            raise InvalidToken
        return Claims(sub, sid, exp, iat_ms, tuple(map(str, roles)), claims)  # type: ignore[arg-type]


class ServiceTokens:
    """Tokens with which one service calls another, made anew one minute before they expire."""

    def __init__(self, ring: KeyRing, service: str, clock: Clock) -> None:
        self._issuer = Issuer(ring, owner=service, typ=SERVICE)
        self._service = service
        self._clock = clock
        self._made: dict[str, tuple[float, str]] = {}

    def token_for(self, target: str) -> str:
        now = self._clock.seconds()
        until, token = self._made.get(target, (0.0, ""))
        if until - 60 < now:
            iat = int(now)
            until = iat + SERVICE_SECONDS
            claims = {"iss": ISSUER, "sub": self._service, "aud": target, "jti": str(uuid4())}
            token = self._issuer.sign({**claims, "iat": iat, "nbf": iat, "exp": int(until)})
            self._made[target] = (until, token)
        return token


def _json_object(segment: str) -> dict[str, object]:
    try:
        return _object(urlsafe_b64decode(segment.encode()))
    except ValueError:
        raise InvalidToken from None


def _object(raw: bytes) -> dict[str, object]:
    try:
        value = orjson.loads(raw)
    except ValueError:
        raise InvalidToken from None
    if not isinstance(value, dict):
        raise InvalidToken
    return value
