"""What all sign-in providers have in common: how they are configured, a visit to one, and what comes of it."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol, TypeVar

import structlog
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from auth_service.domain.outbound import Outbound, OutboundFailed, Reply
from auth_service.errors import ProviderFailed, ProviderRefused, UrlNotAllowed

Kind = Literal["facebook", "google", "github", "apple", "microsoft", "oidc"]

Answer = TypeVar("Answer")

# For all that a provider is asked on behalf of one request of ours.
SECONDS_IN_ALL = 6.0

log = structlog.get_logger()


class ProviderConfig(BaseModel):
    """One provider, as `AUTH_PROVIDERS` says. The addresses have defaults for every kind but `oidc`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    # Part of addresses, and of the key of every identity: it must never change once somebody has signed in.
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
    kind: Kind
    label: Annotated[str, Field(max_length=50)] = ""
    client_id: Annotated[str, Field(min_length=1, max_length=300)]
    # Of apple: the private key in PEM form, with which a secret is signed for every use.
    client_secret: SecretStr
    team_id: str = ""
    key_id: str = ""
    issuer: str = ""
    scopes: tuple[str, ...] = ()
    authorize_url: str = ""
    token_url: str = ""
    api_url: str = ""

    @property
    def shown(self) -> str:
        return self.label or {"github": "GitHub"}.get(self.name, self.name.replace("-", " ").title())


@dataclass(frozen=True, slots=True)
class Visit:
    """What a browser takes to the provider."""

    redirect_uri: str
    state: str
    nonce: str
    verifier: str = field(repr=False)

    @property
    def challenge(self) -> str:
        return str(create_s256_code_challenge(self.verifier))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What it brought back, and what that is compared with. `iss` and `profile` are as the provider's redirect said."""

    code: str = field(repr=False)
    redirect_uri: str
    verifier: str | None = field(default=None, repr=False)
    nonce: str | None = None
    iss: str | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """Whom a provider says somebody is. `email_verified`: the provider vouches that the mailbox is theirs."""

    provider: str
    subject: str
    email: str | None = None
    email_verified: bool = False
    first_name: str = ""
    last_name: str = ""


class Provider(Protocol):
    @property
    def config(self) -> ProviderConfig: ...

    async def authorization_url(self, visit: Visit) -> str: ...

    async def identify(self, grant: Grant) -> Claimed:
        """Raises ProviderRefused when the provider does not know the code or speaks of another visit, ProviderFailed
        when it gives no proper answer."""
        ...


def authorization_url(endpoint: str, config: ProviderConfig, visit: Visit, **more: str) -> str:
    """Always with S256: a provider that does not know PKCE ignores it."""
    return str(
        prepare_grant_uri(
            endpoint,
            config.client_id,
            "code",
            redirect_uri=visit.redirect_uri,
            scope=list(config.scopes),
            state=visit.state,
            code_challenge=visit.challenge,
            code_challenge_method="S256",
            **more,
        )
    )


async def exchange(
    outbound: Outbound, config: ProviderConfig, grant: Grant, *, endpoint: str, secret: str
) -> dict[str, Any]:
    """The token answer for an authorization code."""
    form = prepare_token_request(
        "authorization_code",
        code=grant.code,
        redirect_uri=grant.redirect_uri,
        code_verifier=grant.verifier,
        client_id=config.client_id,
        client_secret=secret,
    )
    try:
        reply = await outbound.post_form(endpoint, form)
        answer = {"error": ""} if 400 <= reply.status < 500 else reply.json()
    except (OutboundFailed, UrlNotAllowed) as error:
        raise failed(config, f"token: {error}") from None
    # Some say `error` with status 200.
    if "error" in answer:
        log.info("provider_refused_code", provider=config.name, status=reply.status)
        raise ProviderRefused
    return answer


async def read(outbound: Outbound, config: ProviderConfig, url: str, token: str, **params: str) -> Reply:
    """An answer of the provider's own API, good or bad, to the bearer of a token."""
    try:
        reply = await outbound.get(url, params=params, headers={"Authorization": f"Bearer {token}"})
    except (OutboundFailed, UrlNotAllowed) as error:
        raise failed(config, f"api: {error}") from None
    if not (reply.ok or 400 <= reply.status < 500):
        raise failed(config, f"api: status {reply.status}")
    return reply


async def in_time(config: ProviderConfig, asking: Awaitable[Answer]) -> Answer:
    """However many requests it takes, and however many others wait for the same answer. Raises ProviderFailed."""
    try:
        async with asyncio.timeout(SECONDS_IN_ALL):
            return await asking
    except TimeoutError:
        raise failed(config, "too slow in all") from None


def failed(config: ProviderConfig, reason: str) -> ProviderFailed:
    log.warning("provider_failed", provider=config.name, reason=reason)
    return ProviderFailed()


def text_of(value: object, most: int = 320) -> str | None:
    """A text from outside that can be stored and shown; None for anything else."""
    if not isinstance(value, str) or not value or len(value) > most or not value.isprintable():
        return None
    return value.strip() or None


def name_of(value: object) -> str:
    return text_of(value, most=150) or ""
