"""Signing in with GitHub: OAuth 2 with an API of its own beside it."""

from typing import Any

from auth_service.domain import oauth
from auth_service.domain.oauth import Claimed, Grant, ProviderConfig, Visit, name_of, text_of
from auth_service.domain.outbound import Outbound, OutboundFailed
from auth_service.errors import ProviderRefused


class GitHub:
    def __init__(self, config: ProviderConfig, outbound: Outbound) -> None:
        self.config = config.model_copy(
            update={
                "scopes": config.scopes or ("read:user", "user:email"),
                "authorize_url": config.authorize_url or "https://github.com/login/oauth/authorize",
                "token_url": config.token_url or "https://github.com/login/oauth/access_token",
                "api_url": config.api_url or "https://api.github.com",
            }
        )
        self._outbound = outbound

    async def authorization_url(self, visit: Visit) -> str:
        return oauth.authorization_url(self.config.authorize_url, self.config, visit)

    async def identify(self, grant: Grant) -> Claimed:
        secret = self.config.client_secret.get_secret_value()
        answer = await oauth.exchange(self._outbound, self.config, grant, endpoint=self.config.token_url, secret=secret)
        token = text_of(answer.get("access_token"), most=2000)
        user = await self._read("/user", token) if token else None
        # The number; a login can be given up and taken by somebody else.
        if token is None or not isinstance(user, dict) or type(user.get("id")) is not int:
            raise ProviderRefused
        email, verified = _primary(await self._read("/user/emails", token))
        first, _, last = name_of(user.get("name")).partition(" ")
        return Claimed(
            provider=self.config.name,
            subject=str(user["id"]),
            email=email,
            email_verified=verified,
            first_name=first,
            last_name=last.strip(),
        )

    async def _read(self, path: str, token: str) -> object:
        reply = await oauth.read(self._outbound, self.config, f"{self.config.api_url}{path}", token)
        try:
            return reply.value() if reply.ok else None
        except OutboundFailed as error:
            raise oauth.failed(self.config, f"{path}: {error}") from None


def _primary(entries: object) -> tuple[str | None, bool]:
    """The address that its owner has made the first, and whether GitHub has seen that it is theirs."""
    found: list[dict[str, Any]] = (
        [each for each in entries if isinstance(each, dict)] if isinstance(entries, list) else []
    )
    for each in found:
        if each.get("primary") is True:
            return text_of(each.get("email")), each.get("verified") is True
    return None, False
