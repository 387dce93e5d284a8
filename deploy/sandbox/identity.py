"""Sign-in providers: an OpenID provider under four names, and what Facebook and GitHub have instead.

They check what real ones check: the client's secret, the redirect address, the verifier of PKCE, and that a code is
used once. Whoever comes chooses on a page who to be.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwk, jws
from joserfc.errors import JoseError
from pydantic import BaseModel, ConfigDict, Field

from libs.clock import Clock
from libs.ids import uuid7

Realm = Literal["oidc", "google", "microsoft", "apple", "facebook", "github"]
At = Literal["discovery", "authorize", "token", "keys", "api", "me"]
Trick = Literal[
    "access_denied",
    "another_issuer",
    "another_key",
    "another_audience",
    "another_nonce",
    "expired",
    "huge",
    "no_nonce",
    "nonsense",
    "redirect",
    "server_error",
    "signed_with_public_key",
    "slow",
    "text_with_markup",
    "unsigned",
]

REALMS: tuple[Realm, ...] = ("oidc", "google", "microsoft", "apple", "facebook", "github")
CLIENT_ID = "parley"
CLIENT_SECRET = "sandbox-secret"  # noqa: S105  -- of a provider that anybody may be anybody with
TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
APPLE_TEAM, APPLE_KEY = "SANDBOXTEAM", "SANDBOXKEY"
_CODE_SECONDS = 60.0
_TOKEN_SECONDS = 3600
_KEPT = 2000


class IdentityFault(BaseModel):
    """One scripted misbehaviour; the first that fits is used."""

    model_config = ConfigDict(extra="forbid")

    realm: Realm
    at: At
    trick: Trick
    times: int = Field(1, ge=1, le=1_000_000)


class Person(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9-]{1,60}$")
    email: str | None = Field(None, max_length=320)
    email_verified: bool = True
    first_name: str = Field("", max_length=200)
    last_name: str = Field("", max_length=200)

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip() or self.id

    @property
    def number(self) -> int:
        """For providers that number their people."""
        return int(hashlib.sha256(self.id.encode()).hexdigest()[:12], 16)


class Asked(BaseModel):
    """What a browser brings to the authorization endpoint."""

    client_id: str = Field(max_length=200)
    redirect_uri: str = Field(pattern=r"^https?://[^#\s]+$", max_length=2000)
    response_type: Literal["code"]
    response_mode: Literal["query", "form_post"] = "query"
    state: str = Field("", max_length=500)
    nonce: str | None = Field(None, max_length=500)
    code_challenge: str = Field("", max_length=200)
    code_challenge_method: Literal["S256", ""] = ""


@dataclass(slots=True)
class Issued:
    """A code, or an access token, and whom it is for."""

    realm: Realm
    person: Person
    client_id: str
    until: float
    asked: Asked | None = None


class GrantRefused(Exception):
    pass


@dataclass
class Identity:
    clock: Clock
    people: dict[str, Person] = field(default_factory=dict)
    faults: list[IdentityFault] = field(default_factory=list)
    _visits: dict[str, tuple[Realm, Asked]] = field(default_factory=dict)
    _codes: dict[str, Issued] = field(default_factory=dict)
    _tokens: dict[str, Issued] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for first, last in (("Ada", "Lovelace"), ("Grace", "Hopper"), ("Alan", "Turing")):
            self.add(Person(id=first.lower(), email=f"{first.lower()}@example.com", first_name=first, last_name=last))

    def add(self, person: Person) -> None:
        self.people[person.id] = person
        _trim(self.people)

    def take_fault(self, realm: str, at: At, tricks: Sequence[Trick] = ()) -> Trick | None:
        for fault in self.faults:
            if (fault.realm, fault.at) == (realm, at) and (not tricks or fault.trick in tricks):
                fault.times -= 1
                if not fault.times:
                    self.faults.remove(fault)
                return fault.trick
        return None

    def arrive(self, realm: Realm, asked: Asked) -> str:
        visit = str(uuid7())
        self._visits[visit] = (realm, asked)
        _trim(self._visits)
        return visit

    def leave(self, visit: str) -> tuple[Realm, Asked] | None:
        """Once: the page behind the visit is over then."""
        return self._visits.pop(visit, None)

    def give_code(self, realm: Realm, asked: Asked, person: Person) -> str:
        code = secrets.token_urlsafe(24)
        self._codes[code] = Issued(realm, person, asked.client_id, self.clock.seconds() + _CODE_SECONDS, asked)
        _trim(self._codes)
        return code

    def give_token(self, realm: Realm, person: Person, client_id: str) -> str:
        token = secrets.token_urlsafe(24)
        self._tokens[token] = Issued(realm, person, client_id, self.clock.seconds() + _TOKEN_SECONDS)
        _trim(self._tokens)
        return token

    def holder(self, realm: Realm, token: str) -> Issued | None:
        issued = self._tokens.get(token)
        fits = issued is not None and issued.realm == realm and self.clock.seconds() < issued.until
        return issued if fits else None

    def redeem(self, realm: Realm, form: Mapping[str, str], *, issuer: str) -> Issued:
        """Raises GrantRefused. A code that was presented is spent, whatever came with it."""
        issued = self._codes.pop(form.get("code", ""), None)
        if issued is None or issued.asked is None or issued.realm != realm or self.clock.seconds() > issued.until:
            raise GrantRefused("invalid_grant")
        if form.get("client_id") != issued.client_id or not self._knows(realm, form, issuer):
            raise GrantRefused("invalid_client")
        if form.get("grant_type") != "authorization_code" or form.get("redirect_uri") != issued.asked.redirect_uri:
            raise GrantRefused("invalid_grant")
        if issued.asked.code_challenge and challenge_of(form.get("code_verifier", "")) != issued.asked.code_challenge:
            raise GrantRefused("invalid_grant")
        return issued

    def id_token(self, issued: Issued, issuer: str, trick: Trick | None) -> str:
        """For whom a code was, or something that a careful client does not believe."""
        key = self.key(issued.realm)
        claims = self._claims(issued, issuer, trick)
        if trick == "unsigned":
            return f"{_encoded({'alg': 'none'})}.{_encoded(claims)}."
        if trick == "signed_with_public_key":
            public = key.as_pem(private=False)
            secret = jwk.OctKey.import_key(base64.b64encode(public))
            return jws.serialize_compact({"alg": "HS256"}, json.dumps(claims).encode(), secret, algorithms=["HS256"])
        header = {"alg": key.alg, "kid": key.kid}
        if trick == "another_key":
            key = _new_key(issued.realm)
        return jws.serialize_compact(header, json.dumps(claims).encode(), key, algorithms=[str(header["alg"])])

    def key(self, realm: Realm) -> jwk.RSAKey | jwk.ECKey:
        return self._ec if realm == "oidc" else self._rsa

    @cached_property
    def _ec(self) -> jwk.ECKey:
        return jwk.ECKey.generate_key("P-256", {"alg": "ES256", "use": "sig", "kid": "sandbox-ec"})

    @cached_property
    def _rsa(self) -> jwk.RSAKey:
        return jwk.RSAKey.generate_key(2048, {"alg": "RS256", "use": "sig", "kid": "sandbox-rsa"})

    def _knows(self, realm: Realm, form: Mapping[str, str], issuer: str) -> bool:
        secret = form.get("client_secret", "")
        if realm != "apple":
            return secrets.compare_digest(secret.encode(), CLIENT_SECRET.encode())
        try:
            signed = jws.deserialize_compact(secret, jwk.ECKey.import_key(apple_key()), algorithms=["ES256"])
            said = json.loads(signed.payload)
        except (JoseError, ValueError):
            return False
        wanted = {"iss": APPLE_TEAM, "sub": form.get("client_id"), "aud": issuer}
        return bool(wanted.items() <= said.items() and said["iat"] <= self.clock.seconds() + 60 < said["exp"] + 60)

    def _claims(self, issued: Issued, issuer: str, trick: Trick | None) -> dict[str, Any]:
        person, now = issued.person, int(self.clock.seconds())
        claims: dict[str, Any] = {
            "iss": issuer,
            "sub": f"{issued.realm}-{person.id}",
            "aud": issued.client_id,
            "iat": now,
            "exp": now + 300,
            "nonce": issued.asked.nonce if issued.asked else None,
            "email": person.email,
            "email_verified": person.email_verified,
            "given_name": person.first_name,
            "family_name": person.last_name,
        }
        if issued.realm == "microsoft":
            claims |= {"tid": TENANT, "xms_edov": person.email_verified}
        changes: dict[str | None, dict[str, Any]] = {
            "another_issuer": {"iss": "https://elsewhere.example.com"},
            "another_audience": {"aud": "somebody-else"},
            "another_nonce": {"nonce": "of-another-visit"},
            "expired": {"iat": now - 7200, "exp": now - 3600},
            "no_nonce": {"nonce": None},
        }
        claims |= changes.get(trick, {})
        return {name: value for name, value in claims.items() if value is not None}


def apple_key() -> str:
    """With which a client of the sandbox's Apple signs; the same everywhere, so that nothing has to be shared."""
    number = int.from_bytes(hashlib.sha256(b"the sandbox's apple").digest()) >> 1
    key = ec.derive_private_key(number, ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def settings_of(origin: str) -> list[dict[str, str]]:
    """How a client is told of all of them (AUTH_PROVIDERS)."""
    found: list[dict[str, str]] = []
    for realm in REALMS:
        own = f"{origin}/identity/{realm}"
        told = {"name": realm, "kind": realm, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        if realm == "facebook":
            told |= {"authorize_url": f"{own}/authorize", "api_url": f"{own}/api"}
        elif realm == "github":
            told |= {"authorize_url": f"{own}/authorize", "token_url": f"{own}/token", "api_url": f"{own}/api"}
        else:
            told["issuer"] = f"{own}/common/v2.0" if realm == "microsoft" else own
        if realm == "apple":
            told |= {"client_secret": apple_key(), "team_id": APPLE_TEAM, "key_id": APPLE_KEY}
        if realm == "oidc":
            told["label"] = "Sandbox"
        found.append(told)
    return found


def challenge_of(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def _new_key(realm: Realm) -> jwk.RSAKey | jwk.ECKey:
    return jwk.ECKey.generate_key("P-256") if realm == "oidc" else jwk.RSAKey.generate_key(2048)


def _encoded(value: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def _trim(kept: dict[str, Any]) -> None:
    while len(kept) > _KEPT:
        del kept[next(iter(kept))]
