"""The parts of a running gateway, put together from the settings."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from time import monotonic, time
from typing import Any, Protocol

from gateway.domain import country
from gateway.domain.access import AccessLog
from gateway.domain.client_ip import Callers, networks
from gateway.domain.cors import Origins
from gateway.domain.gcra import Limit
from gateway.domain.limits import Limiter
from gateway.domain.metrics import CONNECTIONS, COUNTRY_AGE, REVOCATION_LAG
from gateway.domain.pipe import Pipe
from gateway.domain.policy import Policy
from gateway.domain.table import Owner, Table
from gateway.domain.upstreams import Group
from gateway.settings import Settings
from libs import calls
from libs.clock import Clock
from libs.http import InternalClient
from libs.jwks import JwksKeys
from libs.keys import KeyRing, KeySource
from libs.redis import connect
from libs.revocation import Revocations
from libs.tokens import ServiceTokens, Verifier

# How often deadlines are looked at. One pass over all connections costs less than a timer for each phase of a request.
SWEEP_SECONDS = 0.5

Task = Callable[[], Coroutine[Any, Any, None]]


class Watched(Protocol):
    """A connection that lives no longer than its deadline."""

    def look(self, now: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Times:
    header: float
    body: float
    answer: float
    stream: float
    socket: float
    keep_alive: float


@dataclass(slots=True)
class Gateway:
    policy: Policy
    limiter: Limiter
    pipe: Pipe
    revocations: Revocations
    groups: dict[Owner, Group]
    access: AccessLog
    times: Times
    tasks: list[Task]
    closing: list[Task]
    watched: set[Watched] = field(default_factory=set)

    def sweep(self) -> None:
        now = monotonic()
        for watched in tuple(self.watched):
            watched.look(now)
        for group in self.groups.values():
            group.sweep(now)
        self.limiter.sweep()
        self.access.flush()
        CONNECTIONS.set(len(self.watched))
        REVOCATION_LAG.set(self.revocations.lag)
        built = self.policy.countries.built
        COUNTRY_AGE.set(time() - built if built else 0)

    def close(self) -> None:
        self.pipe.close()
        for group in self.groups.values():
            group.close()
        self.access.flush()


def build(settings: Settings) -> Gateway:
    """Raises ValueError for a setting that cannot be meant."""
    clock = Clock()
    ring = KeyRing(settings.key_ring)
    keys: KeySource = JwksKeys(ring, settings.jwks_url) if settings.jwks_url else ring
    redis = connect(settings.redis_url)
    auth = InternalClient(settings.auth_url, "auth", ServiceTokens(ring, "gateway", clock))
    revocations = Revocations(redis, clock, partial(calls.active_revocations, auth))
    pipe = Pipe(settings.redis_url, budget_seconds=settings.redis_budget_ms / 1000)
    table = Table()
    limits = {name: Limit.parse(name, rate) for name, rate in _rates(settings).items()}
    if missing := table.limits - limits.keys():
        raise ValueError(f"No setting gives the limits {sorted(missing)}.")
    limiter = Limiter(limits, pipe, share=settings.replicas)
    countries = country.Countries(settings.country_database)
    countries.reload()
    tasks: list[Task] = [revocations.run, pipe.run_forever, countries.watch]
    if isinstance(keys, JwksKeys):
        tasks.append(keys.run)
    return Gateway(
        policy=Policy(
            callers=Callers(settings.trusted_proxies, settings.exempt_networks),
            countries=countries,
            rules=_rules(settings),
            table=table,
            origins=Origins(settings.cors_origins, settings.own_origins),
            limiter=limiter,
            verifier=Verifier(keys, clock),
            body_limit=settings.max_body_bytes,
        ),
        limiter=limiter,
        pipe=pipe,
        revocations=revocations,
        groups=_groups(settings),
        access=AccessLog(form=settings.log_format),
        times=_times(settings),
        tasks=tasks,
        closing=[auth.close, redis.aclose],
    )


def _rules(settings: Settings) -> country.Rules:
    return country.Rules(
        allow=country.codes(settings.country_allow),
        deny=country.codes(settings.country_deny),
        exempt=networks(settings.country_exempt),
        unknown=settings.country_unknown,
        private=settings.country_private,
    )


def _groups(settings: Settings) -> dict[Owner, Group]:
    return {
        Owner.AUTH: Group("auth", settings.auth_urls),
        Owner.CHAT: Group("chat", settings.chat_urls),
        Owner.SOCKET: Group("socket", settings.socket_urls or settings.chat_urls),
        Owner.NOTIFY: Group("notify", settings.notify_urls),
    }


def _times(settings: Settings) -> Times:
    return Times(
        header=settings.header_seconds,
        body=settings.body_seconds,
        answer=settings.answer_seconds,
        stream=settings.stream_seconds,
        socket=settings.socket_seconds,
        keep_alive=settings.keep_alive_seconds,
    )


def _rates(settings: Settings) -> dict[str, str]:
    return {
        "ip": settings.limit_ip,
        "user": settings.limit_user,
        "costly": settings.limit_costly,
        "login": settings.limit_login,
        "register": settings.limit_register,
        "refresh": settings.limit_refresh,
        "recover": settings.limit_recover,
        "upload": settings.limit_upload,
        "socket": settings.limit_socket,
        "hooks": settings.limit_hooks,
    }
