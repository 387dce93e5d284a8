"""Requests to addresses that somebody else has named: bounded in time and size, and to nowhere inside.

A name is resolved once, every address that it has is checked, and the connection goes to an address that was checked: a
name server that answers differently the second time is not asked a second time.
"""

import asyncio
import ipaddress
import json
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from auth_service.errors import UrlNotAllowed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

SECONDS = 5.0
MOST_BYTES = 1 << 20
_MAX_URL_CHARS = 4096
_PORTS = (443, 8443)
_DEFAULT_PORTS = {"https": 443, "http": 80}
# An IPv4 address in the clothes of an IPv6 one, behind a translator (RFC 6052, RFC 8215).
_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


class OutboundFailed(Exception):
    """No proper answer. The text is for our log: it says what happened, and nothing that the other side has said."""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> dict[str, Any]:
        """Raises OutboundFailed for anything but a success with an object."""
        found = self.value()
        if not isinstance(found, dict):
            raise OutboundFailed("no object")
        return found

    def value(self) -> object:
        if not self.ok:
            raise OutboundFailed(f"status {self.status}")
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise OutboundFailed("no JSON") from None


async def look_up(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


class Outbound:
    """With `private_networks` also to this machine and its neighbours, over plain HTTP and on any port."""

    def __init__(
        self, *, private_networks: bool, resolve: Resolve = look_up, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._private_networks = private_networks
        inner = transport or httpx2.AsyncHTTPTransport(
            trust_env=False,
            # Kept connections are found again by their address, and two names may share one.
            limits=httpx2.Limits(max_keepalive_connections=0),
        )
        self._client = httpx2.AsyncClient(
            transport=_Checked(inner, resolve, private_networks=private_networks),
            timeout=SECONDS,
            follow_redirects=False,
            trust_env=False,
            # Packed bodies could unpack to any size.
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "Parley"},
        )

    async def get(
        self, url: str, *, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        return await self._send("GET", url, params=params, headers=headers)

    async def post_form(self, url: str, form: str, *, headers: Mapping[str, str] | None = None) -> Reply:
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self._send("POST", url, content=form.encode(), headers={**kind, **(headers or {})})

    async def close(self) -> None:
        await self._client.aclose()

    def require_allowed(self, url: str) -> None:
        """Raises UrlNotAllowed for what no address has to be looked up to refuse."""
        _require_allowed(url, private_networks=self._private_networks)

    async def _send(self, method: str, url: str, **options: Any) -> Reply:
        """Raises UrlNotAllowed, or OutboundFailed when there is no answer of at most 1 MiB within five seconds.
        Redirects are answers like others: nobody follows them."""
        self.require_allowed(url)
        try:
            async with asyncio.timeout(SECONDS), self._client.stream(method, url, **options) as answer:
                return Reply(answer.status_code, await _bounded(answer))
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, OSError, UnicodeError) as error:
            raise OutboundFailed(type(error).__name__) from None


def _require_allowed(url: str, *, private_networks: bool) -> None:
    if len(url) > _MAX_URL_CHARS or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise UrlNotAllowed
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        raise UrlNotAllowed from None
    schemes = ("https", "http") if private_networks else ("https",)
    if parsed.scheme not in schemes or not parsed.host or parsed.userinfo or "@" in parsed.netloc.decode("ascii"):
        raise UrlNotAllowed
    if not private_networks and (parsed.port or 443) not in _PORTS:
        raise UrlNotAllowed


def is_public(text: str) -> bool:
    """Whether an address belongs to the internet at large, in whatever form it is written."""
    # An address may name the interface that it is reached through.
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    return all(_is_global(each) for each in (address, *_inner(address)))


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


async def _bounded(answer: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > MOST_BYTES:
            raise OutboundFailed("more than 1 MiB")
    return bytes(body)


class _Checked(httpx2.AsyncBaseTransport):
    """Puts an address that was checked in the place of the name. TLS still asks for the name."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, resolve: Resolve, *, private_networks: bool) -> None:
        self._inner = inner
        self._resolve = resolve
        self._private_networks = private_networks

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        addresses = list(dict.fromkeys(await self._resolve(url.host, url.port or _DEFAULT_PORTS[url.scheme])))
        if not addresses or not (self._private_networks or all(is_public(each) for each in addresses)):
            raise UrlNotAllowed
        request.extensions = {**request.extensions, "sni_hostname": url.host}
        for last, address in ((each == addresses[-1], each) for each in addresses):
            request.url = url.copy_with(host=address)
            try:
                return await self._inner.handle_async_request(request)
            except httpx2.ConnectError:
                if last:
                    raise
        raise UrlNotAllowed

    async def aclose(self) -> None:
        await self._inner.aclose()
