"""The processes of a service: whom to ask next, and the connections that are kept open to them."""

import asyncio
from collections.abc import Callable, Iterable
from time import monotonic
from urllib.parse import urlsplit

import structlog

from gateway.domain.connection import UpstreamConnection
from gateway.domain.metrics import UPSTREAM_SECONDS

CONNECT_SECONDS = 1.0
# Less than the 75 seconds after which the services close, so that the side that closes first is the one that asks.
_IDLE_SECONDS = 60.0
_SHUNNED_SECONDS = 1.0

log = structlog.get_logger()


class Instance:
    """One address, with its pool. The connection used last is used next: the others may grow old and be closed."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/"):
            raise ValueError(f"{url!r} is no address of a service; write it as http://host:port.")
        self.url = url
        self._host, self._port = parts.hostname, parts.port or 80
        self._idle: list[UpstreamConnection] = []
        self.in_flight = 0
        self.shunned_until = 0.0

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
                _, connection = await loop.create_connection(lambda: UpstreamConnection(self), self._host, self._port)
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


Connected = Callable[[Instance, UpstreamConnection], None]


class Group:
    """All instances of one owner. Asks the one with the least in flight; in turn among equals."""

    def __init__(self, name: str, urls: Iterable[str]) -> None:
        self.name = name
        self.instances = [Instance(url) for url in urls]
        if not self.instances:
            raise ValueError(f"There is no address for {name}.")
        self.seconds = UPSTREAM_SECONDS.labels(name)
        self._turn = 0
        self._connecting: set[asyncio.Task[None]] = set()

    def order(self) -> list[Instance]:
        """Those to try, best first. One that refused a moment ago comes last, not never: it may be the only one."""
        if len(self.instances) == 1:
            return self.instances
        self._turn += 1
        turned = [
            *self.instances[self._turn % len(self.instances) :],
            *self.instances[: self._turn % len(self.instances)],
        ]
        now = monotonic()
        return sorted(turned, key=lambda instance: (instance.shunned_until > now, instance.in_flight))

    def acquire(self, ready: Connected, failed: Callable[[], None], *, fresh: bool = False) -> None:
        """Calls `ready` at once when a kept connection is free, later when one is opened, or `failed`.

        `fresh`: no kept connection, because the last one turned out to be dead, or because it will not come back.
        """
        order = self.order()
        if not fresh:
            connection = order[0].idle()
            if connection is not None:
                ready(order[0], connection)
                return
        # The loop itself holds tasks only weakly.
        task = asyncio.get_running_loop().create_task(self._open(order, ready, failed))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _open(self, order: list[Instance], ready: Connected, failed: Callable[[], None]) -> None:
        for instance in order:
            connection = await instance.connect()
            if connection is not None:
                ready(instance, connection)
                return
        failed()

    async def reachable(self) -> bool:
        """Whether any process of the group takes connections."""
        for instance in self.order():
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

    def close(self) -> None:
        for instance in self.instances:
            instance.close()
