"""Public keys of access tokens from auth, for services that hold no ring with them (ES256)."""

import asyncio

import httpx2
import structlog
from joserfc import jwk

from libs import metrics
from libs.keys import USER, Key, KeyRing
from libs.tls import tls_context

_REFRESH_SECONDS = 300.0
# However many unknown key ids arrive, auth is asked at most this often.
_HURRY_SECONDS = 30.0
_RETRY_SECONDS = 1.0

log = structlog.get_logger()


class JwksKeys:
    """Keys of the local ring, and those that auth publishes. Keeps the last good set while auth is away."""

    def __init__(self, ring: KeyRing, url: str) -> None:
        self._ring = ring
        self._url = url
        self._published: dict[str, Key] = {}
        self._generation = 0
        self._unknown = asyncio.Event()

    @property
    def generation(self) -> int:
        return self._ring.generation * 1_000_000 + self._generation

    @property
    def ready(self) -> bool:
        return bool(self._published)

    def find(self, kid: str) -> Key | None:
        key = self._published.get(kid) or self._ring.find(kid)
        if key is None:
            self._unknown.set()
        return key

    async def run(self) -> None:
        async with httpx2.AsyncClient(timeout=3.0, verify=tls_context(), trust_env=False) as client:
            while True:
                await self.refresh(client)
                self._unknown.clear()
                if not self._published:
                    # Auth is not up yet. Nobody can present a key id before this process is ready, so time must do.
                    await asyncio.sleep(_RETRY_SECONDS)
                    continue
                await asyncio.sleep(_HURRY_SECONDS)
                try:
                    async with asyncio.timeout(_REFRESH_SECONDS - _HURRY_SECONDS):
                        await self._unknown.wait()
                except TimeoutError:
                    continue

    async def refresh(self, client: httpx2.AsyncClient) -> None:
        try:
            answer = await client.get(self._url)
            answer.raise_for_status()
            published = {entry["kid"]: _parse(entry) for entry in answer.json()["keys"]}
        except (httpx2.HTTPError, ValueError, KeyError) as error:
            log.warning("jwks_unreachable", reason=type(error).__name__)
            return
        if published.keys() != self._published.keys():
            self._generation += 1
        self._published = published
        metrics.JWKS_FETCHED.set_to_current_time()


def _parse(entry: dict[str, str]) -> Key:
    # One algorithm: a published key of another kind could only confuse a verifier.
    if entry.get("alg") != "ES256":
        raise ValueError("The published keys must be ES256.")
    return Key(entry["kid"], "ES256", USER, "active", 0, jwk.ECKey.import_key(dict(entry)))
