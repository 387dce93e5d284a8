"""Who is calling: the right-most hop that we do not trust.

`X-Forwarded-For` grows to the right: each proxy appends the peer it saw. Only what our own proxies appended is
evidence; everything left of the first hop that is not ours may be invented. With no trusted networks the socket's peer
is the client. Cloudflare says whom it saw in a field of its own, `CF-Connecting-IP`, that nobody can send through it:
behind one of its addresses that is the caller.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MAX_HOPS = 20
_MAX_CHARS = 2048
_NOBODY = IPv4Address("0.0.0.0")  # where a peer has no address, such as one of a unix socket
_NAT64 = IPv6Network("64:ff9b::/96")
# Not `is_private`: that means "not globally routable", has more in it, and changed between versions of Python.
_LOCAL = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "100.64.0.0/10",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
)


class Networks(NamedTuple):
    """How many leading bits of an address limits count as one caller. Who has an IPv6 address has a whole /64."""

    ipv4: int = 32
    ipv6: int = 64


_COUNTED = Networks()


@dataclass(frozen=True, slots=True)
class Caller:
    """`text` is the canonical spelling, `key` what limits count by."""

    text: str
    raw: bytes
    key: bytes
    address: Address
    local: bool  # private, loopback, link-local or carrier-grade NAT
    peer_local: bool
    peer_trusted: bool
    exempt: bool  # from limits per address
    garbled: bool  # a trusted proxy, or Cloudflare, named something that is no address


class Callers:
    """Resolves callers for one list of trusted networks. Results are remembered by the raw texts."""

    def __init__(
        self,
        trusted: Iterable[str],
        exempt: Iterable[str] = (),
        cloudflare: Iterable[str] = (),
        counted: Networks = _COUNTED,
    ) -> None:
        self._trusted = networks(trusted)
        self._exempt = networks(exempt)
        self._cloudflare = networks(cloudflare)
        self._counted = counted
        self.direct = lru_cache(maxsize=16_384)(self._resolve_direct)
        """The caller where nobody is named but the peer."""
        self._named = lru_cache(maxsize=16_384)(self._resolve_named)

    def resolve(self, peer: str, forwarded: Sequence[bytes], connecting: Sequence[bytes] = ()) -> Caller:
        """`forwarded`, `connecting`: the values of all lines of X-Forwarded-For and CF-Connecting-IP, in order."""
        direct = self.direct(peer)
        if not self._cloudflare:
            connecting = ()
        if not (forwarded or connecting):
            return direct
        if not (direct.peer_trusted or (connecting and within(direct.address, self._cloudflare))):
            return direct
        return self._named(peer, b",".join(forwarded), tuple(connecting))

    def _resolve_direct(self, peer: str) -> Caller:
        address = parse(peer) or _NOBODY
        return self._caller(address, address, garbled=False)

    def _resolve_named(self, peer: str, chain: bytes, connecting: tuple[bytes, ...]) -> Caller:
        direct = self.direct(peer)
        client, cloudflare, garbled = direct.address, within(direct.address, self._cloudflare), False
        for hop in _hops(chain) if direct.peer_trusted else ():
            address = parse_hop(hop.strip())
            if address is None:
                # The last hop that we trust is the best that is known; nobody may choose more by sending nonsense.
                garbled = True
                break
            client = address
            cloudflare = cloudflare or within(address, self._cloudflare)
            if not within(address, self._trusted):
                break
        if cloudflare and connecting:
            seen = parse(connecting[0].decode("latin-1")) if len(connecting) == 1 else None
            client, garbled = seen or client, seen is None
        return self._caller(client, direct.address, garbled=garbled)

    def _caller(self, client: Address, peer: Address, *, garbled: bool) -> Caller:
        return Caller(
            text=str(client),
            raw=str(client).encode(),
            key=_limit_key(client, self._counted),
            address=client,
            local=is_local(client),
            peer_local=is_local(peer),
            peer_trusted=within(peer, self._trusted),
            exempt=within(client, self._exempt),
            garbled=garbled,
        )


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    return tuple(ip_network(text, strict=False) for text in texts)


def _hops(chain: bytes) -> Sequence[str]:
    """From the right; no more than are looked at."""
    hops = chain[-_MAX_CHARS:].decode("latin-1").split(",") if chain else []
    if len(chain) > _MAX_CHARS:
        # The left-most piece may be half an address; half an address can be another one.
        hops = hops[1:]
    return hops[: -_MAX_HOPS - 1 : -1]


def within(address: Address, nets: Sequence[Network]) -> bool:
    return any(address in net for net in nets)


def parse(text: str) -> Address | None:
    """Strict: no leading zeros, hexadecimal or short forms, no zone. IPv4 in IPv6 clothes becomes IPv4."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None
        return address.ipv4_mapped or address
    return address


def parse_hop(text: str) -> Address | None:
    """An entry of X-Forwarded-For: `ip`, `ip:port`, `[v6]` or `[v6]:port`. Names are never resolved."""
    if text.startswith("["):
        host, closed, port = text[1:].partition("]")
        if not closed or (port and not _is_port(port)):
            return None
        return parse(host)
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return parse(host) if _is_port(":" + port) else None
    return parse(text)


def unwrapped(address: Address) -> Address:
    """The IPv4 address behind NAT64 or 6to4: that is the one whose country is known."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
        return address.sixtofour or address
    return address


def is_local(address: Address) -> bool:
    return within(address, _LOCAL)


def _is_port(text: str) -> bool:
    digits = text[1:]
    return text.startswith(":") and len(digits) <= 5 and digits.isascii() and digits.isdigit() and int(digits) < 65536


def _limit_key(address: Address, counted: Networks) -> bytes:
    bits = counted.ipv6 if isinstance(address, IPv6Address) else counted.ipv4
    if bits == address.max_prefixlen:
        return str(address).encode()
    return str(ip_network((address, bits), strict=False)).encode()
