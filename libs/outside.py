"""Where a request may go whose address somebody else has named: to the internet at large, and to nowhere inside.

A name is resolved, every address that it has is checked, and the connection goes to an address that was checked: a name
server that answers differently the second time is not asked a second time.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence

import httpx2

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_MAX_URL_CHARS = 4096
_PORTS = (443, 8443)
_DEFAULT_PORTS = {"https": 443, "http": 80}
# An IPv4 address in the clothes of an IPv6 one, behind a translator (RFC 6052, RFC 8215).
_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


class NotAllowed(Exception):
    """Nobody goes there on behalf of somebody else."""


async def look_up(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


def require_allowed(url: str, *, private_networks: bool) -> None:
    """Raises NotAllowed for what no name has to be resolved to refuse. With `private_networks` plain HTTP and any port
    are allowed as well."""
    if len(url) > _MAX_URL_CHARS or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise NotAllowed
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        raise NotAllowed from None
    schemes = ("https", "http") if private_networks else ("https",)
    if parsed.scheme not in schemes or not parsed.host or parsed.userinfo or "@" in parsed.netloc.decode("ascii"):
        raise NotAllowed
    if not private_networks and (parsed.port or 443) not in _PORTS:
        raise NotAllowed


def is_public(text: str) -> bool:
    """Whether an address belongs to the internet at large, in whatever form it is written."""
    # An address may name the interface that it is reached through.
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    return all(_is_global(each) for each in (address, *_inner(address)))


class Guarded(httpx2.AsyncBaseTransport):
    """Puts an address that was checked in the place of the name. TLS still asks for the name.

    `inner` finds kept connections by their address, and two names may share one: it keeps none, or serves one name.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport, *, private_networks: bool, resolve: Resolve = look_up) -> None:
        self._inner = inner
        self._resolve = resolve
        self._private_networks = private_networks

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        try:
            found = await self._resolve(url.host, url.port or _DEFAULT_PORTS[url.scheme])
        except (OSError, UnicodeError) as error:
            raise httpx2.ConnectError("no such name") from error
        addresses = list(dict.fromkeys(found))
        if not addresses or not (self._private_networks or all(is_public(each) for each in addresses)):
            raise NotAllowed
        request.extensions = {**request.extensions, "sni_hostname": url.host}
        for last, address in ((each == addresses[-1], each) for each in addresses):
            request.url = url.copy_with(host=address)
            try:
                return await self._inner.handle_async_request(request)
            except httpx2.ConnectError:
                if last:
                    raise
        raise NotAllowed

    async def aclose(self) -> None:
        await self._inner.aclose()


def _inner(address: Address) -> list[Address]:
    """The IPv4 addresses that an IPv6 one leads to."""
    if address.version == 4:
        return []
    found: list[Address] = [each for each in (address.ipv4_mapped, address.sixtofour) if each]
    found += address.teredo or ()
    if any(address in network for network in _TRANSLATED):
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return found


def _is_global(address: Address) -> bool:
    if address.version == 6 and address.ipv4_mapped:
        return True
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
