"""Signing in with Facebook. It is no OpenID provider, and it does not vouch for anybody's e-mail address."""

import hashlib
import hmac

import structlog

from auth_service.domain import oauth
from auth_service.domain.oauth import Claimed, Grant, ProviderConfig, Visit, name_of, text_of
from auth_service.domain.outbound import Outbound, OutboundFailed
from auth_service.errors import (
    FacebookExchangeFailed,
    FacebookProfileFailed,
    FacebookRefused,
    ProviderFailed,
    ProviderRefused,
)

_VERSION = "v21.0"

log = structlog.get_logger()


class Facebook:
    def __init__(self, config: ProviderConfig, outbound: Outbound) -> None:
        api = config.api_url or f"https://graph.facebook.com/{_VERSION}"
        self.config = config.model_copy(
            update={
                "scopes": config.scopes or ("public_profile", "email"),
                "authorize_url": config.authorize_url or f"https://www.facebook.com/{_VERSION}/dialog/oauth",
                "token_url": config.token_url or f"{api}/oauth/access_token",
                "api_url": api,
            }
        )
        self._outbound = outbound

    async def authorization_url(self, visit: Visit) -> str:
        return oauth.authorization_url(self.config.authorize_url, self.config, visit)

    async def identify(self, grant: Grant) -> Claimed:
        try:
            return await self._person(await self._exchange(grant))
        except FacebookRefused:
            raise ProviderRefused from None

    async def identify_either(self, code: str, redirect_uri: str) -> Claimed:
        """For clients that send an access token in the place of a code. Raises a refusal that says where it failed."""
        try:
            return await oauth.in_time(self.config, self._identify_either(code, redirect_uri))
        except ProviderFailed:
            raise FacebookRefused from None

    async def _identify_either(self, code: str, redirect_uri: str) -> Claimed:
        try:
            ours = await self._is_our_token(code)
            token = code if ours else await self._exchange(Grant(code=code, redirect_uri=redirect_uri))
        except ProviderRefused:
            raise FacebookExchangeFailed from None
        except ProviderFailed:
            raise FacebookRefused from None
        try:
            return await self._person(token)
        except (ProviderRefused, ProviderFailed):
            raise FacebookProfileFailed from None

    async def _exchange(self, grant: Grant) -> str:
        secret = self.config.client_secret.get_secret_value()
        answer = await oauth.exchange(self._outbound, self.config, grant, endpoint=self.config.token_url, secret=secret)
        token = text_of(answer.get("access_token"), most=2000)
        # A token for another app, slipped in with a code, would sign in whoever trusted that app.
        if token is None or not await self._is_our_token(token):
            raise ProviderRefused
        return token

    async def _is_our_token(self, token: str) -> bool:
        """False for what is no token at all. Raises FacebookRefused for one that was given to another app."""
        own = f"{self.config.client_id}|{self.config.client_secret.get_secret_value()}"
        url = f"{self.config.api_url}/debug_token"
        reply = await oauth.read(self._outbound, self.config, url, own, input_token=token)
        try:
            said = reply.json().get("data") if reply.ok else None
        except OutboundFailed as error:
            raise oauth.failed(self.config, f"debug_token: {error}") from None
        if not isinstance(said, dict) or said.get("is_valid") is not True:
            return False
        if str(said.get("app_id")) != self.config.client_id or said.get("type", "USER") != "USER":
            log.warning("facebook_token_of_another_app")
            raise FacebookRefused
        return True

    async def _person(self, token: str) -> Claimed:
        reply = await oauth.read(
            self._outbound,
            self.config,
            f"{self.config.api_url}/me",
            token,
            fields="id,first_name,last_name,name,email",
            appsecret_proof=self._proof(token),
        )
        try:
            said = reply.json() if reply.ok else {}
        except OutboundFailed as error:
            raise oauth.failed(self.config, f"me: {error}") from None
        subject = text_of(said.get("id"), most=100)
        if subject is None:
            raise ProviderRefused
        return Claimed(
            provider=self.config.name,
            subject=subject,
            email=text_of(said.get("email")),
            first_name=name_of(said.get("first_name")) or name_of(said.get("name")),
            last_name=name_of(said.get("last_name")),
        )

    def _proof(self, token: str) -> str:
        """Shows that the call comes from the app's own server, not from somebody who took the token."""
        secret = self.config.client_secret.get_secret_value()
        return hmac.digest(secret.encode(), token.encode(), hashlib.sha256).hex()
