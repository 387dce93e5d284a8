"""The HTTP side of auth: where everything concrete is made."""

import hmac
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from fastapi import FastAPI

from auth_service.domain import api_tokens as programs
from auth_service.domain import revocations, startup, texting
from auth_service.domain.breaches import Breaches
from auth_service.domain.hashing import Cost, Hasher
from auth_service.domain.kit import Kit
from auth_service.domain.outbound import Outbound
from auth_service.domain.passwords import Policy
from auth_service.domain.providers import Providers
from auth_service.domain.providers import parse as providers_in
from auth_service.domain.puzzles import Puzzles
from auth_service.domain.relying_party import RelyingParty
from auth_service.domain.rotator import Rotator
from auth_service.domain.startup import Founding
from auth_service.domain.texting import Budgets, Texting
from auth_service.domain.tokens import Mint, RefreshKeys
from auth_service.routes import (
    accounts,
    admin,
    api_tokens,
    audit,
    compat_hub,
    compat_rooms,
    compat_sender,
    cookies,
    countries,
    deletion,
    email,
    exports,
    finding,
    identities,
    imports,
    internal,
    introspection,
    keys,
    locations,
    mfa,
    passkeys,
    passwords,
    phone_change,
    phone_codes,
    providers,
    reauth,
    sessions,
    tokens,
    usage,
    users,
)
from auth_service.settings import Settings
from libs import internal as shared
from libs import web
from libs.clock import Clock
from libs.lanes import Lanes
from libs.runtime import Runtime, open_runtime

_CLIENTS = {"sender": compat_sender, "hub": compat_hub, "rooms": compat_rooms}
_OWN = (
    # First: paths are tried in this order, and this one is asked most.
    tokens,
    accounts,
    api_tokens,
    cookies,
    email,
    admin,
    imports,
    introspection,
    audit,
    mfa,
    passkeys,
    reauth,
    passwords,
    phone_codes,
    phone_change,
    providers,
    sessions,
    countries,
    # Before `users`, whose paths with an id would catch theirs.
    finding,
    identities,
    locations,
    exports,
    usage,
    deletion,
    users,
    keys,
    internal,
    shared,
)
# The few paths that take a form in the place of JSON.
_FORMS = re.compile(f"{providers.FORMS.pattern}|{introspection.FORMS.pattern}")
# One for the refreshes of a process, which go together, the others for sign-ins.
_LANES = 3
# Where the gateway is reached when nobody says so.
_AT_HOME = "http://127.0.0.1:8000"
_DESCRIPTION = "Accounts, sign-in, sessions and tokens."


@asynccontextmanager
async def open_kit(runtime: Runtime, settings: Settings) -> AsyncIterator[Kit]:
    cost = Cost(settings.hashing_memory_kib, settings.hashing_rounds)
    hasher = Hasher(settings.hashing_threads, cost=cost, wait_seconds=settings.hashing_wait_seconds)
    refresh_keys = RefreshKeys(settings.refresh_keys.get_secret_value())
    lanes = Lanes("auth", settings.database_url.get_secret_value(), _LANES)
    rotator = Rotator(lanes, refresh_keys, runtime.clock)
    breaches = Breaches(settings.hibp_url) if settings.hibp_url else None
    outbound = Outbound(private_networks=settings.provider_private_networks)
    known = Providers(
        providers_in(settings.providers.get_secret_value() if settings.providers else None),
        outbound,
        runtime.clock,
        public_url=settings.public_url or _AT_HOME,
        return_urls=settings.return_urls,
    )
    try:
        yield Kit(
            database=runtime.db,
            redis=runtime.redis,
            clock=runtime.clock,
            hasher=hasher,
            passwords=Policy(nist=settings.password_profile == "nist", breaches=breaches),  # noqa: S105
            texting=_texting(settings),
            rotator=rotator,
            lanes=lanes,
            mint=Mint(runtime.ring, refresh_keys, runtime.clock),
            cipher=runtime.cipher,
            sessions_per_user=settings.sessions_per_user,
            adaptive=settings.adaptive,
            relying_party=RelyingParty(
                settings.webauthn_rp_id, settings.product_name, tuple(settings.webauthn_origins)
            ),
            must_verify=settings.email_verification == "required",
            providers=known,
            challenge=_challenge(settings),
            avatar_hosts=frozenset(settings.avatar_hosts),
            deletion_grace=timedelta(days=settings.deletion_grace_days),
        )
    finally:
        await rotator.close()
        await lanes.close()
        hasher.close()
        await outbound.close()
        if breaches is not None:
            await breaches.close()


def _key(settings: Settings, use: bytes) -> bytes:
    """Made from the keys of encrypted fields: when those change, codes and puzzles on their way are lost."""
    return hmac.digest(settings.field_keys.get_secret_value().encode(), use, "sha256")


def _challenge(settings: Settings) -> Puzzles | None:
    bits = settings.proof_of_work_bits
    return Puzzles(_key(settings, b"puzzles"), bits) if bits else None


def _texting(settings: Settings) -> Texting:
    return Texting(
        key=_key(settings, b"phone codes"),
        digits=settings.code_digits,
        countries=texting.allowed(settings.sms_countries),
        budgets=Budgets(
            prefixes=texting.budgets_by_prefix(settings.sms_prefix_budgets),
            prefix=settings.sms_prefix_budget,
            network=settings.sms_network_budget,
            total=settings.sms_global_budget,
        ),
    )


def founding(settings: Settings) -> Founding:
    secret = settings.admin_secret.get_secret_value() if settings.admin_secret else ""
    return Founding(admin_phone=settings.admin_phone, admin_secret=secret, demo_users=settings.demo_users)


def create_app(settings: Settings, clock: Clock | None = None) -> FastAPI:
    clock = clock or Clock()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pull, resolve = revocations.active_at(clock), programs.facts_at(clock)
        async with (
            open_runtime("auth", settings, clock=clock, pull=pull, resolve=resolve) as runtime,
            open_kit(runtime, settings) as kit,
        ):
            runtime.onto(app)
            app.state.kit = kit
            await startup.prepare(kit, founding(settings))
            yield

    async def database() -> None:
        await app.state.db.ping()

    app = web.create_app(
        name="auth",
        title="Parley auth",
        description=_DESCRIPTION,
        settings=settings,
        routers=[
            *(module.router for module in _OWN),
            *(_CLIENTS[name].router for name in settings.existing_clients),
        ],
        lifespan=lifespan,
        # Redis is not among them: without it people still sign in, and sign out.
        checks={"database": database},
        forms=_FORMS,
    )
    return app
