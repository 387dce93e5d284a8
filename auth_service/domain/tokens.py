"""What a session hands out: the access token, a JWT, and the refresh token, a counter with a MAC.

A refresh token is `1 | key | session id | counter | MAC` in base64url. Its MAC key is made from a master key and the
session's salt, so that neither the database nor the settings alone suffice to forge one, and no token is stored.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from auth_service.errors import InvalidRefreshToken
from libs.clock import Clock
from libs.errors import WrongTokenType
from libs.keys import KeyRing
from libs.tokens import AUDIENCE, ISSUER, Issuer, Verifier

_VERSION = 1
_MAC_BYTES = 16
_HEAD_BYTES = 18
_COUNTER_BYTES = 9
# Of the claims, for those who read them: a new number would mean that a claim has changed its meaning.
_CLAIMS_VERSION = 1
MFA = "mfa+jwt"
MFA_AUDIENCE = "auth"
_PENDING_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Family:
    """Lifetimes of the sessions that one family of clients opens."""

    access: timedelta
    # Access tokens live up to this much shorter, so that sessions which began together do not refresh together.
    jitter: timedelta
    absolute: timedelta
    # False: the refresh token stays the same for as long as the session lives.
    rotates: bool = True


# A session that is not refreshed for so long ends, whoever opened it.
IDLE = timedelta(days=7)
IMPERSONATED = "impersonated"
FAMILIES = {
    "canonical": Family(
        access=timedelta(minutes=15),
        jitter=timedelta(seconds=45),
        absolute=timedelta(days=30),
    ),
    "sender": Family(access=timedelta(hours=12), jitter=timedelta(0), absolute=timedelta(days=30)),
    # One of this client's two ways to refresh does not keep a new refresh token.
    "hub": Family(access=timedelta(minutes=15), jitter=timedelta(0), absolute=timedelta(days=7), rotates=False),
    "rooms": Family(access=timedelta(minutes=60), jitter=timedelta(0), absolute=timedelta(days=30)),
    IMPERSONATED: Family(access=timedelta(minutes=15), jitter=timedelta(0), absolute=timedelta(minutes=15)),
}
STAYING = [name for name, family in FAMILIES.items() if not family.rotates]


@dataclass(frozen=True, slots=True)
class Holder:
    """The person a token is for, as far as tokens and their answers tell."""

    id: UUID
    number: int
    username: str
    email: str | None
    email_verified: bool
    is_verified: bool
    first_name: str
    last_name: str
    roles: Sequence[str]
    created_at: datetime

    @property
    def display_name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip() or self.username


@dataclass(frozen=True, slots=True)
class Pair:
    """A successful sign-in or refresh."""

    user: Holder
    access: str
    refresh: str
    device_token: str | None = None
    """For the client to keep, when the account did not know its device."""
    cookie: bool = False
    """Whether both are for cookies only, where no script can read them."""


class SessionRow(Protocol):
    """What tokens need of a session, be it a row or an object."""

    @property
    def id(self) -> UUID: ...
    @property
    def family(self) -> str: ...
    @property
    def salt(self) -> bytes: ...
    @property
    def counter(self) -> int: ...
    @property
    def amr(self) -> list[str]: ...
    @property
    def aal(self) -> int: ...
    @property
    def cookie(self) -> bool: ...
    @property
    def actor_id(self) -> UUID | None: ...


@dataclass(frozen=True, slots=True)
class Presented:
    """A refresh token as it came in: well-formed, its MAC not checked yet."""

    key: int
    session_id: UUID
    counter: int
    signed: bytes
    mac: bytes


class RefreshKeys:
    """Makes refresh tokens with the first key and recognises those of all keys.

    `keys`: `number:base64url of 32 bytes`, comma separated. The number is one byte of each token.
    """

    def __init__(self, keys: str) -> None:
        self._keys: dict[int, bytes] = {}
        for entry in keys.split(","):
            number, _, encoded = entry.strip().partition(":")
            secret = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
            if not number.isascii() or not number.isdigit() or int(number) > 255 or len(secret) != 32:
                raise ValueError("A refresh key is `number:base64url` with a number up to 255 and 32 bytes.")
            self._keys[int(number)] = secret
        self._current = next(iter(self._keys))

    def make(self, session_id: UUID, counter: int, salt: bytes) -> str:
        signed = bytes([_VERSION, self._current]) + session_id.bytes + _varint(counter)
        token = signed + self._mac(self._current, session_id, salt, signed)
        return base64.urlsafe_b64encode(token).decode().rstrip("=")

    def accepts(self, token: Presented, salt: bytes) -> bool:
        expected = self._mac(token.key, token.session_id, salt, token.signed)
        return hmac.compare_digest(expected, token.mac)

    def read(self, token: str) -> Presented:
        """Raises InvalidRefreshToken for anything that `make` with one of our keys cannot have made."""
        raw = _decode(token)
        signed, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        session_id, counter = signed[2:_HEAD_BYTES], signed[_HEAD_BYTES:]
        if not 1 <= len(counter) <= _COUNTER_BYTES or signed[0] != _VERSION or signed[1] not in self._keys:
            raise InvalidRefreshToken
        number = sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(counter))
        if _varint(number) != counter:
            raise InvalidRefreshToken
        return Presented(signed[1], UUID(bytes=session_id), number, signed, mac)

    def _mac(self, key: int, session_id: UUID, salt: bytes, signed: bytes) -> bytes:
        own = hmac.digest(self._keys[key], b"rt" + session_id.bytes + salt, hashlib.sha256)
        return hmac.digest(own, signed, hashlib.sha256)[:_MAC_BYTES]


class FirstFactor(Protocol):
    """What a pending sign-in must still know when its second factor comes."""

    @property
    def amr(self) -> Sequence[str]: ...
    @property
    def family(self) -> str: ...
    @property
    def cookie(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Pending:
    """A sign-in that waits for its second factor."""

    token_id: str
    user_id: UUID
    issued_ms: int
    amr: Sequence[str]
    family: str
    cookie: bool


class Mint:
    """Makes both tokens of a session."""

    def __init__(self, ring: KeyRing, refresh: RefreshKeys, clock: Clock) -> None:
        self.refresh = refresh
        self._issuer = Issuer(ring)
        self._pending = Issuer(ring, typ=MFA)
        self._pending_verifier = Verifier(ring, clock, typ=MFA, audience=MFA_AUDIENCE)
        self._clock = clock

    def pair(self, user: Holder, session: SessionRow, *, counter: int, issued: datetime | None = None) -> Pair:
        """`issued` is for a user who is locked no more: a moment at which what they may do was certain; else now."""
        refresh = self.refresh.make(session.id, counter, session.salt)
        issued_ms = self._clock.ms() if issued is None else int(issued.timestamp() * 1000)
        return Pair(user, self._access(user, session, issued_ms), refresh, cookie=session.cookie)

    def pending(self, user_id: UUID, first: "FirstFactor") -> str:
        """Says that the first factor was right. Opens nothing but the second one, in auth, for five minutes."""
        now = self._clock.ms() // 1000
        return self._pending.sign(
            {
                "iss": ISSUER,
                "aud": MFA_AUDIENCE,
                "sub": str(user_id),
                "sid": "",
                "jti": secrets.token_urlsafe(12),
                "iat": now,
                "nbf": now,
                "exp": now + _PENDING_SECONDS,
                "iat_ms": self._clock.ms(),
                "ver": _CLAIMS_VERSION,
                "roles": [],
                "amr": list(first.amr),
                "family": first.family,
                "cookie": first.cookie,
            }
        )

    def read_pending(self, token: str) -> Pending:
        """Raises InvalidToken, TokenExpired or WrongTokenType."""
        values = self._pending_verifier.verify(token).values
        # Signed by us, with our own types.
        claims: Any = values
        return Pending(
            token_id=claims["jti"],
            user_id=UUID(claims["sub"]),
            issued_ms=claims["iat_ms"],
            amr=claims["amr"],
            family=claims["family"],
            cookie=claims["cookie"],
        )

    def _access(self, user: Holder, session: SessionRow, now_ms: int) -> str:
        family = FAMILIES[session.family]
        jitter = int(family.jitter.total_seconds())
        life = int(family.access.total_seconds()) - secrets.randbelow(jitter + 1)
        now = now_ms // 1000
        user_id = str(user.id)
        return self._issuer.sign(
            {
                "iss": ISSUER,
                "aud": AUDIENCE,
                # Existing clients read the person's id under each of these three names.
                "sub": user_id,
                "user_id": user_id,
                "userId": user_id,
                "email": user.email,
                "type": "access",
                "sid": str(session.id),
                # Shorter than a UUID: every request of every client carries this token.
                "jti": secrets.token_urlsafe(12),
                "iat": now,
                "nbf": now,
                "exp": now + life,
                "iat_ms": now_ms,
                "ver": _CLAIMS_VERSION,
                "roles": list(user.roles),
                "amr": list(session.amr),
                "aal": session.aal,
                # Clients show it: what happens here is done by somebody else.
                **({"act": {"sub": str(session.actor_id)}} if session.actor_id else {}),
            }
        )


def _decode(token: str) -> bytes:
    if token.count(".") == 2:
        raise WrongTokenType
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRefreshToken from None
    # One token, one text: a copy with other bits in its last character is not the same token.
    if base64.urlsafe_b64encode(raw).decode().rstrip("=") != token or len(raw) <= _HEAD_BYTES + _MAC_BYTES:
        raise InvalidRefreshToken
    return raw


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
