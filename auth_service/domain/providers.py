"""The sign-in providers of this deployment."""

from collections.abc import Iterable, Sequence

from pydantic import TypeAdapter, ValidationError

from auth_service.domain.facebook import Facebook
from auth_service.domain.github import GitHub
from auth_service.domain.oauth import Provider, ProviderConfig
from auth_service.domain.oidc import OpenId
from auth_service.domain.outbound import Outbound
from libs.clock import Clock
from libs.errors import NotFound

_CONFIGS = TypeAdapter(list[ProviderConfig])


class Providers:
    """`return_urls` are the pages that a browser may be sent back to, each to the letter; `public_url` is where
    providers send it first."""

    def __init__(
        self,
        configs: Iterable[ProviderConfig],
        outbound: Outbound,
        clock: Clock,
        *,
        public_url: str,
        return_urls: Sequence[str],
    ) -> None:
        self.return_urls = frozenset(return_urls)
        self._public_url = public_url.rstrip("/")
        self._by_name: dict[str, Provider] = {}
        for config in configs:
            if config.name in self._by_name:
                raise ValueError(f"There are two sign-in providers with the name {config.name}.")
            self._by_name[config.name] = _make(config, outbound, clock)

    def all(self) -> list[Provider]:
        return list(self._by_name.values())

    def get(self, name: str) -> Provider:
        """Raises NotFound."""
        if name not in self._by_name:
            raise NotFound
        return self._by_name[name]

    def label(self, name: str) -> str:
        """Also of a provider that is no longer configured."""
        return self._by_name[name].config.shown if name in self._by_name else name

    def facebook(self) -> Facebook | None:
        return next((each for each in self._by_name.values() if isinstance(each, Facebook)), None)

    def callback(self, name: str) -> str:
        return f"{self._public_url}/api/v1/auth/providers/{name}/callback"


def parse(text: str | None) -> list[ProviderConfig]:
    """Raises ValueError with the places that are wrong, and never with what stands there: among it are secrets."""
    try:
        return _CONFIGS.validate_json(text or "[]")
    except ValidationError as error:
        places = (".".join(map(str, each["loc"])) or "the whole" for each in error.errors(include_input=False))
        raise ValueError(f"AUTH_PROVIDERS is not valid: {', '.join(places)}") from None


def _make(config: ProviderConfig, outbound: Outbound, clock: Clock) -> Provider:
    if config.kind == "facebook":
        return Facebook(config, outbound)
    if config.kind == "github":
        return GitHub(config, outbound)
    return OpenId(config, outbound, clock)
