"""Signing in with any OpenID Connect provider; with Google, Microsoft and Apple, which are such with peculiarities."""

import json
import re
from typing import Any

import structlog
from joserfc import jwk, jws

from auth_service.domain import id_tokens, oauth
from auth_service.domain.discovery import Discovery
from auth_service.domain.id_tokens import Expected, NotGenuine, UnknownKey
from auth_service.domain.oauth import Claimed, Grant, ProviderConfig, Visit, name_of, text_of
from auth_service.domain.outbound import Outbound
from auth_service.errors import ProviderRefused
from libs.clock import Clock

ISSUERS = {
    "google": "https://accounts.google.com",
    "microsoft": "https://login.microsoftonline.com/common/v2.0",
    "apple": "https://appleid.apple.com",
}
_SCOPES = {"apple": ("openid", "name", "email")}
_TENANT = "{tenantid}"
_TENANT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHARED_TENANTS = ("common", "organizations", "consumers")
_APPLE_SECRET_SECONDS = 300

log = structlog.get_logger()


class OpenId:
    def __init__(self, config: ProviderConfig, outbound: Outbound, clock: Clock) -> None:
        kind = config.kind
        issuer = config.issuer or ISSUERS.get(kind, "")
        if not issuer:
            raise ValueError(f"The provider {config.name} needs an issuer.")
        scopes = config.scopes or _SCOPES.get(kind, ("openid", "profile", "email"))
        self.config = config.model_copy(update={"issuer": issuer, "scopes": scopes})
        self._outbound = outbound
        self._clock = clock
        self._issuer = _template(issuer) if kind == "microsoft" else issuer
        self._discovery = Discovery(self.config, outbound, clock, issuer=self._issuer)

    async def authorization_url(self, visit: Visit) -> str:
        metadata = await self._discovery.metadata()
        more = {"nonce": visit.nonce}
        if self.config.kind == "apple":
            # Apple gives names and addresses in this way only.
            more["response_mode"] = "form_post"
        return oauth.authorization_url(metadata.authorization_endpoint, self.config, visit, **more)

    async def identify(self, grant: Grant) -> Claimed:
        metadata = await self._discovery.metadata()
        if grant.iss is None and metadata.authorization_response_iss_parameter_supported:
            raise self._refused("iss is missing on the way back")
        if grant.iss is not None and _TENANT not in self._issuer and grant.iss != self._issuer:
            raise self._refused("another issuer on the way back")
        answer = await oauth.exchange(
            self._outbound, self.config, grant, endpoint=metadata.token_endpoint, secret=self._secret()
        )
        return self._claimed(await self._verified(answer.get("id_token"), grant), grant)

    async def _verified(self, token: object, grant: Grant) -> dict[str, Any]:
        if not isinstance(token, str):
            raise self._refused("no id_token")
        expected = Expected(self.config.client_id, grant.nonce, self._clock.seconds())
        try:
            try:
                claims = id_tokens.verify(token, await self._discovery.keys(), expected)
            except UnknownKey:
                claims = id_tokens.verify(token, await self._discovery.keys(unknown=True), expected)
        except NotGenuine as error:
            raise self._refused(f"id_token: {error}") from None
        if claims.get("iss") != self._issuer_for(claims):
            raise self._refused("id_token: iss")
        return claims

    def _issuer_for(self, claims: dict[str, Any]) -> str | None:
        """Microsoft's shared addresses serve all tenants, and each signs with an issuer of its own."""
        if _TENANT not in self._issuer:
            return self._issuer
        tenant = claims.get("tid")
        is_tenant = isinstance(tenant, str) and _TENANT_ID.fullmatch(tenant)
        return self._issuer.replace(_TENANT, str(tenant)) if is_tenant else None

    def _claimed(self, claims: dict[str, Any], grant: Grant) -> Claimed:
        names = (claims.get("given_name"), claims.get("family_name"))
        if self.config.kind == "apple":
            names = _apple_names(grant.profile)
        # A subject is unique for its issuer only.
        subject = claims["sub"] if _TENANT not in self._issuer else f"{claims['tid']}:{claims['sub']}"
        return Claimed(
            provider=self.config.name,
            subject=subject,
            email=text_of(claims.get("email")),
            email_verified=self._vouches(claims),
            first_name=name_of(names[0]),
            last_name=name_of(names[1]),
        )

    def _vouches(self, claims: dict[str, Any]) -> bool:
        """Microsoft's `email` is what an administrator typed; only `xms_edov` says that the domain is theirs."""
        says = claims.get("xms_edov" if self.config.kind == "microsoft" else "email_verified")
        return says is True or says == "true"

    def _secret(self) -> str:
        secret = self.config.client_secret.get_secret_value()
        return _apple_secret(self.config, secret, self._clock) if self.config.kind == "apple" else secret

    def _refused(self, reason: str) -> ProviderRefused:
        log.warning("provider_refused", provider=self.config.name, reason=reason)
        return ProviderRefused()


def _template(issuer: str) -> str:
    head, tenant, version = issuer.rsplit("/", 2)
    return f"{head}/{_TENANT}/{version}" if tenant in _SHARED_TENANTS else issuer


def _apple_secret(config: ProviderConfig, pem: str, clock: Clock) -> str:
    now = int(clock.seconds())
    claims = {
        "iss": config.team_id,
        "iat": now,
        "exp": now + _APPLE_SECRET_SECONDS,
        "aud": config.issuer,
        "sub": config.client_id,
    }
    header = {"alg": "ES256", "kid": config.key_id}
    key = jwk.ECKey.import_key(pem)
    return jws.serialize_compact(header, json.dumps(claims).encode(), key, algorithms=["ES256"])


def _apple_names(profile: str | None) -> tuple[object, object]:
    """Sent by the browser at the very first sign-in, unsigned: good for a display name and for nothing else."""
    try:
        name = json.loads(profile or "{}")["name"]
        return name.get("firstName"), name.get("lastName")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None, None
