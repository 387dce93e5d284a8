"""What a process of any service holds open: database, Redis, keys, revocations, and the tasks behind them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from fastapi import FastAPI
from redis.asyncio import Redis

from libs import calls, outbox
from libs.api_tokens import ApiTokens
from libs.clock import Clock
from libs.contracts.accounts import ApiTokenFacts
from libs.crypto import FieldCipher
from libs.csrf import CSRF
from libs.db import Database
from libs.http import InternalClient
from libs.jwks import JwksKeys
from libs.keys import KeyRing, KeySource
from libs.redis import connect
from libs.revocation import Active, Revocations
from libs.settings import ServiceSettings
from libs.tasks import background
from libs.tokens import SERVICE, ServiceTokens, Verifier


@dataclass
class Runtime:
    name: str
    clock: Clock
    db: Database
    redis: Redis
    ring: KeyRing
    keys: KeySource
    verifier: Verifier
    csrf_verifier: Verifier
    api_tokens: ApiTokens
    service_verifier: Verifier
    service_tokens: ServiceTokens
    auth: InternalClient
    cipher: FieldCipher
    revocations: Revocations

    def onto(self, app: FastAPI) -> None:
        """Puts everything where the dependencies of `libs` look for it."""
        for name, value in vars(self).items():
            setattr(app.state, name, value)


@asynccontextmanager
async def open_runtime(
    name: str,
    settings: ServiceSettings,
    *,
    clock: Clock | None = None,
    pull: Callable[[Database], Awaitable[Active]] | None = None,
    resolve: Callable[[Database, str], Awaitable[ApiTokenFacts]] | None = None,
    on_revocation: Callable[[], None] | None = None,
) -> AsyncIterator[Runtime]:
    """`pull` and `resolve` are how auth itself reads the active revocations and API tokens; every other service asks
    auth."""
    clock = clock or Clock()
    redis = connect(settings.redis_url)
    db = Database(
        settings.database_url.get_secret_value(),
        service=name,
        pool_size=settings.database_pool_size,
        slow_query_ms=settings.slow_query_ms,
    )
    db.announce = partial(outbox.announce, redis, name)
    ring = KeyRing(settings.key_ring)
    keys: KeySource = JwksKeys(ring, settings.jwks_url) if settings.jwks_url else ring
    tokens = ServiceTokens(ring, name, clock)
    auth = InternalClient(settings.auth_url, "auth", tokens)
    revocations = Revocations(
        redis, clock, partial(pull, db) if pull else partial(calls.active_revocations, auth), on_revocation
    )
    runtime = Runtime(
        name=name,
        clock=clock,
        db=db,
        redis=redis,
        ring=ring,
        keys=keys,
        verifier=Verifier(keys, clock),
        csrf_verifier=Verifier(keys, clock, typ=CSRF),
        # Auth asks its own database each time.
        api_tokens=ApiTokens(partial(resolve, db), clock, remember=0)
        if resolve
        else ApiTokens(partial(calls.api_token, auth), clock),
        service_verifier=Verifier(ring, clock, typ=SERVICE, audience=name),
        service_tokens=tokens,
        auth=auth,
        cipher=FieldCipher(settings.field_keys.get_secret_value()),
        revocations=revocations,
    )
    following = [revocations.run()]
    if isinstance(keys, JwksKeys):
        following.append(keys.run())
    try:
        async with background(*following):
            yield runtime
    finally:
        await auth.close()
        await db.close()
        await redis.aclose()
