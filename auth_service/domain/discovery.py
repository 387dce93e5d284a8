"""Where an OpenID provider has what, and its keys: read once, kept for an hour."""

import asyncio
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel, Field, ValidationError

from auth_service.domain import id_tokens, oauth
from auth_service.domain.id_tokens import Key
from auth_service.domain.oauth import ProviderConfig
from auth_service.domain.outbound import Outbound, OutboundFailed
from auth_service.errors import UrlNotAllowed
from libs.clock import Clock

Thing = TypeVar("Thing")

_KEPT_SECONDS = 3600.0
# However many tokens with unknown keys arrive, the provider is asked at most this often.
_HURRY_SECONDS = 30.0


class Metadata(BaseModel):
    """OpenID Connect Discovery 1.0, section 3, as far as we read it."""

    issuer: str = Field(max_length=2048)
    authorization_endpoint: str = Field(max_length=2048)
    token_endpoint: str = Field(max_length=2048)
    jwks_uri: str = Field(max_length=2048)
    # RFC 9207: whether the way back names the issuer, so that a mix-up of two providers shows.
    authorization_response_iss_parameter_supported: bool = False


@dataclass(frozen=True, slots=True)
class _Kept(Generic[Thing]):
    value: Thing
    since: float


class Discovery:
    """Of one provider. `issuer` is what the document must say of itself, to the letter."""

    def __init__(self, config: ProviderConfig, outbound: Outbound, clock: Clock, *, issuer: str) -> None:
        self._config = config
        self._outbound = outbound
        self._clock = clock
        self._issuer = issuer
        self._metadata: _Kept[Metadata] | None = None
        self._keys: _Kept[list[Key]] | None = None
        # Of many sign-ins at once one asks.
        self._asking = asyncio.Lock()

    async def metadata(self) -> Metadata:
        """Raises ProviderFailed."""
        async with self._asking:
            if self._metadata is None or self._age(self._metadata) > _KEPT_SECONDS:
                self._metadata = _Kept(await self._read_metadata(), self._clock.seconds())
            return self._metadata.value

    async def keys(self, *, unknown: bool = False) -> list[Key]:
        """With `unknown`, perhaps newer ones. Raises ProviderFailed."""
        url = (await self.metadata()).jwks_uri
        async with self._asking:
            oldest = _HURRY_SECONDS if unknown else _KEPT_SECONDS
            if self._keys is None or self._age(self._keys) > oldest:
                self._keys = _Kept(await self._read_keys(url), self._clock.seconds())
            return self._keys.value

    def _age(self, kept: _Kept[Metadata] | _Kept[list[Key]]) -> float:
        return self._clock.seconds() - kept.since

    async def _read_metadata(self) -> Metadata:
        url = f"{self._config.issuer}/.well-known/openid-configuration"
        try:
            found = Metadata.model_validate((await self._outbound.get(url)).json())
            self._outbound.require_allowed(found.authorization_endpoint)
        except ValidationError:
            raise oauth.failed(self._config, "discovery: fields are missing") from None
        except (OutboundFailed, UrlNotAllowed) as error:
            raise oauth.failed(self._config, f"discovery: {error}") from None
        if found.issuer != self._issuer:
            raise oauth.failed(self._config, "discovery: another issuer")
        return found

    async def _read_keys(self, url: str) -> list[Key]:
        try:
            entries = (await self._outbound.get(url)).json().get("keys")
        except (OutboundFailed, UrlNotAllowed) as error:
            raise oauth.failed(self._config, f"keys: {error}") from None
        if not isinstance(entries, list):
            raise oauth.failed(self._config, "keys: no list")
        return id_tokens.parse_keys(entries)
