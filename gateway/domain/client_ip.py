"""Who is calling: the right-most hop that we do not trust.

`X-Forwarded-For` grows to the right: each proxy appends the peer it saw. Only what our own proxies appended is
evidence; everything left of the first hop that is not ours may be invented. With no trusted networks the socket's peer
is the client.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MAX_HOPS = 20
_MAX_CHARS = 2048
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


@dataclass(frozen=True, slots=True)
class Caller:
    """`text` is the canonical spelling, `key` what limits count by (an IPv6 caller owns a whole /64)."""

    text: str
    raw: bytes
    key: bytes
    address: Address
    local: bool  # private, loopback, link-local or carrier-grade NAT
    peer_local: bool
    peer_trusted: bool
    exempt: bool  # from limits per address
    garbled: bool  # a trusted proxy named something that is no address


class Callers:
    """Resolves callers for one list of trusted networks. Results are remembered by the raw texts."""

    def __init__(self, trusted: Iterable[str], exempt: Iterable[str] = ()) -> None:
        self._trusted = networks(trusted)
        self._exempt = networks(exempt)
        self._direct = lru_cache(maxsize=16_384)(self._resolve_direct)
        self._forwarded = lru_cache(maxsize=16_384)(self._resolve_forwarded)

    def resolve(self, peer: str, forwarded: Sequence[bytes]) -> Caller:
        """`forwarded`: the values of all X-Forwarded-For lines, in order."""
        if not forwarded or not self._direct(peer).peer_trusted:
            return self._direct(peer)
        return self._forwarded(peer, forwarded[0] if len(forwarded) == 1 else b",".join(forwarded))

    def _resolve_direct(self, peer: str) -> Caller:
        address = parse(peer) or IPv4Address("0.0.0.0")
        return self._caller(address, address, garbled=False)

    def _resolve_forwarded(self, peer: str, chain: bytes) -> Caller:
        socket_peer = client = parse(peer) or IPv4Address("0.0.0.0")
        hops = chain[-_MAX_CHARS:].decode("latin-1").split(",")
        if len(chain) > _MAX_CHARS:
            # The left-most piece may be half an address; half an address can be another one.
            hops = hops[1:]
        for hop in reversed(hops[-_MAX_HOPS:]):
            address = parse_hop(hop.strip())
            if address is None:
                # The last hop that we trust is the best that is known; nobody may choose more by sending nonsense.
                return self._caller(client, socket_peer, garbled=True)
            client = address
            if not within(address, self._trusted):
                break
        return self._caller(client, socket_peer, garbled=False)

    def _caller(self, client: Address, peer: Address, *, garbled: bool) -> Caller:
        return Caller(
            text=str(client),
            raw=str(client).encode(),
            key=_limit_key(client),
            address=client,
            local=is_local(client),
            peer_local=is_local(peer),
            peer_trusted=within(peer, self._trusted),
            exempt=within(client, self._exempt),
            garbled=garbled,
        )


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    return tuple(ip_network(text, strict=False) for text in texts)


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
    return len(text) <= 6 and text.startswith(":") and text[1:].isascii() and text[1:].isdigit()


def _limit_key(address: Address) -> bytes:
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address) >> 64 << 64, 64))).encode()
    return str(address).encode()
