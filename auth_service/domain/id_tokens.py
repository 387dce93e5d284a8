"""Checking what an OpenID provider signs. Two algorithms, keys from the provider's own list, every claim compared."""

import hmac
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joserfc import jwk, jws
from joserfc.errors import JoseError

Key = jwk.RSAKey | jwk.ECKey

_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_MAX_CHARS = 16_384
_LEEWAY_SECONDS = 60
_OLDEST_SECONDS = 600
_MIN_RSA_BITS = 2048
_KEYS_FOR: Mapping[str, type[Key]] = {"RS256": jwk.RSAKey, "ES256": jwk.ECKey}
_REGISTRIES = {alg: jws.JWSRegistry(algorithms=[alg]) for alg in _KEYS_FOR}


class NotGenuine(Exception):
    """The text says which check failed, and nothing of the token."""


class UnknownKey(NotGenuine):
    """Perhaps one that was published after we looked."""


@dataclass(frozen=True, slots=True)
class Expected:
    client_id: str
    nonce: str | None
    now: float


def parse_keys(entries: Sequence[object]) -> list[Key]:
    """Those that can check a signature we accept; others are left out, for a provider may publish all kinds."""
    return [key for entry in entries if isinstance(entry, dict) and (key := _parse(entry)) is not None]


def verify(token: str, keys: Iterable[Key], expected: Expected) -> dict[str, Any]:
    """Its claims. The issuer is the caller's to compare, for it may depend on a claim. Raises NotGenuine."""
    if len(token) > _MAX_CHARS or _SHAPE.fullmatch(token) is None:
        raise NotGenuine("form")
    header = _header(token)
    alg = header.get("alg")
    if not isinstance(alg, str) or alg not in _KEYS_FOR or "crit" in header:
        raise NotGenuine("algorithm")
    key = _choose(keys, alg, header.get("kid"))
    try:
        payload = json.loads(jws.deserialize_compact(token, key, registry=_REGISTRIES[alg]).payload)
    except (JoseError, ValueError, RecursionError):
        raise NotGenuine("signature") from None
    if not isinstance(payload, dict):
        raise NotGenuine("claims")
    _require_audience(payload, expected.client_id)
    _require_times(payload, expected.now)
    _require_nonce(payload, expected.nonce)
    if not isinstance(payload.get("sub"), str) or not 1 <= len(payload["sub"]) <= 255:
        raise NotGenuine("sub")
    return payload


def _parse(entry: dict[str, Any]) -> Key | None:
    if entry.get("use", "sig") != "sig":
        return None
    try:
        if entry.get("kty") == "RSA":
            rsa = jwk.RSAKey.import_key(entry)
            return rsa if rsa.public_key.key_size >= _MIN_RSA_BITS else None
        if entry.get("kty") == "EC" and entry.get("crv") == "P-256":
            return jwk.ECKey.import_key(entry)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return None


def _header(token: str) -> dict[str, Any]:
    try:
        return dict(jws.extract_compact(token.encode()).headers())
    except (JoseError, ValueError, TypeError, RecursionError):
        raise NotGenuine("header") from None


def _choose(keys: Iterable[Key], alg: str, kid: object) -> Key:
    fitting = [key for key in keys if isinstance(key, _KEYS_FOR[alg])]
    if kid is not None:
        fitting = [key for key in fitting if key.kid == kid]
    # Without an id there must be no choice.
    if len(fitting) != 1:
        raise UnknownKey("key")
    return fitting[0]


def _require_audience(claims: dict[str, Any], client_id: str) -> None:
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if client_id not in audiences:
        raise NotGenuine("aud")
    party = claims.get("azp")
    if party != client_id and (party is not None or len(audiences) > 1):
        raise NotGenuine("azp")


def _require_times(claims: dict[str, Any], now: float) -> None:
    expires, issued = _moment(claims, "exp"), _moment(claims, "iat")
    if not now - _LEEWAY_SECONDS < expires:
        raise NotGenuine("exp")
    if not now - _OLDEST_SECONDS <= issued <= now + _LEEWAY_SECONDS:
        raise NotGenuine("iat")


def _moment(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    # A bool is an int to Python.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotGenuine(name)
    return value


def _require_nonce(claims: dict[str, Any], nonce: str | None) -> None:
    said = claims.get("nonce")
    if nonce is None or not isinstance(said, str) or not hmac.compare_digest(said.encode(), nonce.encode()):
        raise NotGenuine("nonce")
