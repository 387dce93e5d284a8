"""The parts of a running gateway, put together from the settings."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic, time
from typing import Any, Protocol

from gateway.domain.access import AccessLog
from gateway.domain.client_ip import Callers, Network, Networks, networks
from gateway.domain.cors import Origins
from gateway.domain.country import Countries
from gateway.domain.crowd import Crowd
from gateway.domain.hosts import Doorway, Hosts
from gateway.domain.limits import Limiter
from gateway.domain.load import Load
from gateway.domain.metrics import CONNECTIONS, COUNTRY_AGE, REVOCATION_LAG
from gateway.domain.pipe import Pipe
from gateway.domain.policy import Policy
from gateway.domain.policy_file import PolicyFile, Terms
from gateway.domain.probes import probe
from gateway.domain.shadow import Shadow
from gateway.domain.table import Owner, Table
from gateway.domain.upstreams import Address, Group, address
from gateway.domain.usage import Usage
from gateway.settings import Settings
from libs import calls
from libs.clock import Clock
from libs.http import InternalClient
from libs.jwks import JwksKeys
from libs.keys import KeyRing, KeySource
from libs.redis import connect
from libs.revocation import Revocations
from libs.settings import SettingsRefused, variable
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
    callers: Callable[[Networks], Callers]
    limiter: Limiter
    shadow: Shadow
    pipe: Pipe
    revocations: Revocations
    groups: dict[Owner, Group]
    access: AccessLog
    usage: Usage | None
    times: Times
    crowd: Crowd
    announcers: tuple[Network, ...]
    """Whose connections begin with an announcement of whom they are for."""
    tasks: list[Task]
    closing: list[Task]
    watched: set[Watched] = field(default_factory=set)

    def obey(self, terms: Terms) -> None:
        """From the next request on; those under way end as they began."""
        self.policy = replace(
            self.policy,
            callers=self.callers(terms.networks),
            elsewhere=terms.elsewhere,
            table=Table(terms.routes),
        )
        self.limiter.replace(terms.limits)

    def sweep(self) -> None:
        now = monotonic()
        for watched in tuple(self.watched):
            watched.look(now)
        for group in self.groups.values():
            group.sweep(now)
        self.limiter.sweep()
        self.shadow.sweep()
        self.access.flush()
        if self.usage is not None:
            self.usage.sweep()
        CONNECTIONS.set(len(self.watched))
        REVOCATION_LAG.set(self.revocations.lag)
        built = self.policy.countries.built
        COUNTRY_AGE.set(time() - built if built else 0)

    def close(self) -> None:
        self.pipe.close()
        for group in self.groups.values():
            group.close()
        self.access.flush()


def check(settings: Settings) -> None:
    """Raises SettingsRefused and Refused for what would stop the start: settings, or the policy file."""
    _require_meaning(settings)
    _policy_file(settings).read()


def build(settings: Settings) -> Gateway:
    """Raises SettingsRefused for settings that cannot be meant, Refused for such a policy file."""
    _require_meaning(settings)
    clock = Clock()
    ring = KeyRing(settings.key_ring)
    keys: KeySource = JwksKeys(ring, settings.jwks_url) if settings.jwks_url else ring
    redis = connect(settings.redis_url)
    auth = InternalClient(settings.auth_url, "auth", ServiceTokens(ring, "gateway", clock))
    revocations = Revocations(redis, clock, partial(calls.active_revocations, auth))
    pipe = Pipe(settings.redis_url, budget_seconds=settings.redis_budget_ms / 1000)
    file = _policy_file(settings)
    terms = file.read()
    shadow = Shadow()
    limiter = Limiter(terms.limits, pipe, shadow, share=settings.replicas)
    countries = Countries(settings.country_database)
    countries.reload()
    groups = _groups(settings)
    load = Load(settings.shed_lag_ms / 1000, settings.max_requests, partial(_in_flight, groups))
    tasks: list[Task] = [revocations.run, pipe.run_forever, countries.watch, load.watch]
    if isinstance(keys, JwksKeys):
        tasks.append(keys.run)
    usage = Usage(partial(calls.report_usage, auth), clock) if settings.usage_seconds else None
    callers = partial(Callers, settings.trusted_proxies, settings.exempt_networks, settings.cloudflare_networks)
    gateway = Gateway(
        policy=Policy(
            callers=callers(terms.networks),
            doorway=Doorway(Hosts(settings.hosts), settings.https == "on"),
            load=load,
            countries=countries,
            elsewhere=terms.elsewhere,
            table=Table(terms.routes),
            origins=Origins(settings.cors_origins, settings.own_origins),
            limiter=limiter,
            verifier=Verifier(keys, clock),
            body_limit=settings.max_body_bytes,
            shadow=shadow,
        ),
        callers=callers,
        limiter=limiter,
        shadow=shadow,
        pipe=pipe,
        revocations=revocations,
        groups=groups,
        access=AccessLog(form=settings.log_format),
        usage=usage,
        times=_times(settings),
        crowd=Crowd(
            connections=settings.max_connections,
            per_address=settings.max_connections_per_address,
            sockets_per_address=settings.max_sockets_per_address,
        ),
        announcers=networks(settings.proxy_protocol),
        tasks=tasks,
        closing=[auth.close, redis.aclose],
    )
    _add_wanted(gateway, settings, file)
    return gateway


def _require_meaning(settings: Settings) -> None:
    """All that is wrong is collected, so that one look mends it."""
    wrong = []
    for name, make in _MEANINGS.items():
        try:
            make(getattr(settings, name))
        except ValueError as error:
            wrong.append(f"{variable(Settings, name)}: {str(error).rstrip('.')}")
    if wrong:
        raise SettingsRefused("; ".join(wrong))


def _addresses(urls: list[str]) -> list[Address]:
    return [address(url) for url in urls]


def _some_addresses(urls: list[str]) -> list[Address]:
    if not urls:
        raise ValueError("there must be one; write it as http://host:port")
    return _addresses(urls)


_MEANINGS: dict[str, Callable[[list[str]], object]] = {
    "auth_urls": _some_addresses,
    "chat_urls": _some_addresses,
    "socket_urls": _addresses,
    "notify_urls": _some_addresses,
    "hosts": Hosts,
    "trusted_proxies": networks,
    "exempt_networks": networks,
    "cloudflare_networks": networks,
    "proxy_protocol": networks,
}


def _add_wanted(gateway: Gateway, settings: Settings, file: PolicyFile) -> None:
    """The tasks that hang on a setting."""
    if settings.probe_seconds:
        gateway.tasks.append(partial(probe, gateway.groups.values(), settings.probe_seconds))
    if settings.policy_file is not None:
        gateway.tasks.append(partial(file.watch, gateway.obey))
    if gateway.usage is not None:
        gateway.tasks.append(partial(gateway.usage.run, settings.usage_seconds))
        gateway.closing.insert(0, gateway.usage.stop)


def _policy_file(settings: Settings) -> PolicyFile:
    return PolicyFile(settings.policy_file, database=settings.country_database is not None)


def _groups(settings: Settings) -> dict[Owner, Group]:
    return {
        owner: Group(owner.value, urls, most_waiting=settings.in_flight)
        for owner, urls in (
            (Owner.AUTH, settings.auth_urls),
            (Owner.CHAT, settings.chat_urls),
            (Owner.SOCKET, settings.socket_urls or settings.chat_urls),
            (Owner.NOTIFY, settings.notify_urls),
        )
    }


def _in_flight(groups: dict[Owner, Group]) -> int:
    """Requests at the services. Streams stay for hours, and say nothing of what there is to do."""
    return sum(
        instance.in_flight
        for owner, group in groups.items()
        if owner is not Owner.SOCKET
        for instance in group.instances
    )


def _times(settings: Settings) -> Times:
    return Times(
        header=settings.header_seconds,
        body=settings.body_seconds,
        answer=settings.answer_seconds,
        stream=settings.stream_seconds,
        socket=settings.socket_seconds,
        keep_alive=settings.keep_alive_seconds,
    )
