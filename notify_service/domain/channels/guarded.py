"""The way to addresses that somebody else has named: endpoints of browsers, and of customers."""

import time
from collections import OrderedDict
from collections.abc import Sequence

import httpx2

from libs.outside import Guarded, look_up
from libs.tls import tls_context
from notify_service.domain.channels.http import KEPT, Transport

_MOST_HOSTS = 16
_REMEMBERED_SECONDS = 30.0


def guarded(*, private_networks: bool) -> Transport:
    """Of seats that send one message after the other, each to where it is addressed."""
    return lambda: _ByHost(private_networks=private_networks)


class _ByHost(httpx2.AsyncBaseTransport):
    """Connections of their own to each of the hosts that were visited last."""

    def __init__(self, *, private_networks: bool) -> None:
        self._private_networks = private_networks
        self._hosts: OrderedDict[tuple[str, str, int | None], Guarded] = OrderedDict()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        origin = (url.scheme, url.host, url.port)
        if origin not in self._hosts:
            if len(self._hosts) >= _MOST_HOSTS:
                _, oldest = self._hosts.popitem(last=False)
                await oldest.aclose()
            self._hosts[origin] = Guarded(
                httpx2.AsyncHTTPTransport(verify=tls_context(), limits=KEPT, trust_env=False),
                private_networks=self._private_networks,
                resolve=_Recent(),
            )
        self._hosts.move_to_end(origin)
        return await self._hosts[origin].handle_async_request(request)

    async def aclose(self) -> None:
        while self._hosts:
            _, host = self._hosts.popitem()
            await host.aclose()


class _Recent:
    """Resolves one name, and not again for each message. What it remembers is checked like what it has just heard."""

    def __init__(self) -> None:
        self._found: Sequence[str] = ()
        self._until = 0.0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        now = time.monotonic()
        if now >= self._until:
            self._found = await look_up(host, port)
            self._until = now + _REMEMBERED_SECONDS
        return self._found
