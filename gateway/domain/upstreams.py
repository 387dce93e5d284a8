"""The processes of a service: whom to ask next, and the connections that are kept open to them."""

import asyncio
from collections.abc import Iterable
from time import monotonic
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

import structlog

from gateway.domain.breaker import Breaker, Window
from gateway.domain.connection import UpstreamConnection
from gateway.domain.metrics import AILING, CIRCUITS_OPEN, RETRIES, TALLY

CONNECT_SECONDS = 1.0
# Less than the 75 seconds after which the services close, so that the side that closes first is the one that asks.
_IDLE_SECONDS = 60.0
_SHUNNED_SECONDS = 1.0
# Probes in a row; one may meet a process that collects its garbage.
_MISSED_PROBES = 2
# More than anybody has in flight.
_LAST = 1 << 30
# Of the calls of the last ten seconds. The floor lets a quiet gateway ask again at all.
_RETRIED_SHARE = 0.1
_LEAST_RETRIES = 10

log = structlog.get_logger()


class Address(NamedTuple):
    authority: str
    host: str
    port: int


def address(url: str) -> Address:
    """Of a process of a service. Raises ValueError, without the text where it might hold a secret."""
    if "@" in url:
        raise ValueError("the address of a service holds no user and no password; write it as http://host:port")
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is no address of a service; write it as http://host:port")
    return Address(parts.netloc, parts.hostname, parts.port or 80)


class Seeker(Protocol):
    """Who wants a connection. One of the two methods is called, at once or later."""

    @property
    def whole(self) -> bool:
        """The request has arrived to its end, so that nothing but the service can hold it up."""

    @property
    def fresh(self) -> bool:
        """No kept connection will do: the last one turned out to be dead, or this one will not come back."""

    def connected(self, instance: "Instance", connection: UpstreamConnection, era: int, now: float) -> None: ...
    def unavailable(self, why: str, retry_after: int) -> None: ...


class Instance:
    """One address, with its pool. The connection used last is used next: the others may grow old and be closed.

    A call is in flight from `begin` on, and ends with `failed`, with `left`, or after `answered` with `ended`. Waiting
    are those that are being connected, and those that are sent whole and have no answer yet: a client that takes its
    time to send a body must not keep others out.
    """

    def __init__(self, url: str, most_waiting: int) -> None:
        self.url = url
        self.authority, self.host, self.port = address(url)
        self._most_waiting = most_waiting
        self._idle: list[UpstreamConnection] = []
        self._missed = 0
        self.breaker = Breaker()
        self.in_flight = 0
        self.waiting = 0
        self.shunned_until = 0.0

    # Whom to ask.

    def admits(self, seeker: Seeker, now: float) -> bool:
        if self.waiting >= self._most_waiting:
            return False
        # Only what is whole can be a trial: anything else ends when its client likes.
        return self.breaker.open_until is None or (seeker.whole and self.breaker.admits(now))

    def rank(self, now: float) -> int:
        """The least is asked. One that refused a moment ago comes last, not never: the others may do worse."""
        return self.in_flight + _LAST if self.ailing or self.shunned_until > now else self.in_flight

    @property
    def ailing(self) -> bool:
        return self._missed >= _MISSED_PROBES

    def probed(self, *, alive: bool) -> None:
        """That it lives closes no circuit: what says so is not what calls need."""
        if alive:
            if self.ailing:
                log.info("upstream_answers_probes", upstream=self.url)
            self._missed = 0
            return
        self._missed += 1
        if self._missed == _MISSED_PROBES:
            log.warning("upstream_misses_probes", upstream=self.url)

    # One call.

    def begin(self) -> int:
        """Its era, for its end."""
        self.in_flight += 1
        return self.breaker.begin()

    def answered(self, era: int, now: float) -> None:
        """With whatever status: also a refusal is an answer."""
        if self.breaker.succeed(era, now):
            log.info("upstream_circuit_closed", upstream=self.url)

    def ended(self) -> None:
        self.in_flight -= 1

    def failed(self, era: int) -> None:
        """No answer, and it is the process or the way to it that is to blame."""
        self.in_flight -= 1
        if self.breaker.fail(era, monotonic()):
            log.warning("upstream_circuit_opened", upstream=self.url)

    def left(self, era: int) -> None:
        """Nobody waits for the answer any more."""
        self.in_flight -= 1
        self.breaker.forget(era)

    # Its connections.

    def idle(self) -> UpstreamConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        return None

    async def connect(self) -> UpstreamConnection | None:
        """A new connection, or None: nobody there. Then others are asked for a second, unless there are none."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(lambda: UpstreamConnection(self), self.host, self.port)
        except (OSError, TimeoutError) as error:
            self.shunned_until = monotonic() + _SHUNNED_SECONDS
            log.warning("upstream_unreachable", upstream=self.url, reason=type(error).__name__)
            return None
        self.shunned_until = 0.0
        return connection

    def release(self, connection: UpstreamConnection) -> None:
        connection.idle_since = monotonic()
        self._idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    def sweep(self, now: float) -> None:
        old = [connection for connection in self._idle if connection.idle_since + _IDLE_SECONDS < now]
        for connection in old:
            self._idle.remove(connection)
            connection.abort()

    def close(self) -> None:
        for connection in self._idle:
            connection.abort()
        self._idle.clear()


class Group:
    """All instances of one owner. Asks the one with the least in flight; in turn among equals."""

    def __init__(self, name: str, urls: Iterable[str], *, most_waiting: int) -> None:
        """`most_waiting`: calls of one instance that wait for the head of their answer; there is no queue behind."""
        self.instances = [Instance(url, most_waiting) for url in urls]
        self.seconds = TALLY.timing(name)
        self._retried = Window()
        self._retries = RETRIES.labels(name)
        self._open_circuits = CIRCUITS_OPEN.labels(name)
        self._ailing = AILING.labels(name)
        self._turn = 0
        self._connecting: set[asyncio.Task[None]] = set()

    def acquire(self, seeker: Seeker, tried: tuple[Instance, ...] = ()) -> None:
        """Connects at once when a kept connection is free, later when one is opened. `tried` are not asked again."""
        now = monotonic()
        instance = self._choose(seeker, now, tried)
        if instance is None:
            self._turn_away(seeker, now, tried)
            return
        era = instance.begin()
        connection = None if seeker.fresh else instance.idle()
        if connection is not None:
            seeker.connected(instance, connection, era, now)
            return
        instance.waiting += 1
        # The loop itself holds tasks only weakly.
        task = asyncio.get_running_loop().create_task(self._open(seeker, instance, era, tried))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def retry(self, seeker: Seeker, failed: Instance) -> bool:
        """Connects once more, elsewhere if somebody else is there. False: too many were asked twice of late.

        So a service in trouble gets little on top of what it has.
        """
        now = monotonic()
        calls = sum(instance.breaker.calls(now) for instance in self.instances)
        if self._retried.total(now) >= max(_LEAST_RETRIES, calls * _RETRIED_SHARE):
            return False
        self._retried.add(now)
        self._retries.inc()
        elsewhere = any(instance is not failed and instance.admits(seeker, now) for instance in self.instances)
        self.acquire(seeker, (failed,) if elsewhere else ())
        return True

    def _choose(self, seeker: Seeker, now: float, tried: tuple[Instance, ...]) -> Instance | None:
        instances = self.instances
        if len(instances) == 1:
            instance = instances[0]
            return instance if instance.admits(seeker, now) and not tried else None
        turn = self._turn = (self._turn + 1) % len(instances)
        best: Instance | None = None
        least = 0
        # From the one whose turn it is, and around.
        for at in range(turn - len(instances), turn):
            instance = instances[at]
            if instance in tried or not instance.admits(seeker, now):
                continue
            rank = instance.rank(now)
            if best is None or rank < least:
                best, least = instance, rank
        return best

    def _turn_away(self, seeker: Seeker, now: float, tried: tuple[Instance, ...]) -> None:
        if tried:
            why = "unreachable"
        elif all(instance.breaker.open_until is not None for instance in self.instances):
            why = "open"
        else:
            why = "full"
        seeker.unavailable(why, min(instance.breaker.wait(now) for instance in self.instances))

    async def _open(self, seeker: Seeker, instance: Instance, era: int, tried: tuple[Instance, ...]) -> None:
        connection = await instance.connect()
        instance.waiting -= 1
        if connection is not None:
            seeker.connected(instance, connection, era, monotonic())
            return
        instance.failed(era)
        self.acquire(seeker, (*tried, instance))

    async def reachable(self) -> bool:
        """Whether any process of the group takes connections."""
        for instance in self.instances:
            if (idle := instance.idle()) is not None:
                instance.release(idle)
                return True
            connection = await instance.connect()
            if connection is not None:
                instance.release(connection)
                return True
        return False

    def sweep(self, now: float) -> None:
        for instance in self.instances:
            instance.sweep(now)
        self._open_circuits.set(sum(instance.breaker.open_until is not None for instance in self.instances))
        self._ailing.set(sum(instance.ailing for instance in self.instances))

    def close(self) -> None:
        for instance in self.instances:
            instance.close()
