"""The PROXY protocol, versions 1 and 2: what a load balancer that passes bytes says first, of whom it passes them for.

Each has one reading, and nothing is believed that is not read to its end.
"""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from gateway.domain.client_ip import parse
from gateway.domain.wire import Malformed

_V1_START = b"PROXY "
_V1_BYTES = 107  # with its line end
_PORT = rb"(?:0|[1-9][0-9]{0,4})"
_V1 = re.compile(
    rb"PROXY (?:UNKNOWN(?: [\x20-\x7e]*)?|(TCP[46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (%s) (%s))\r\n" % (_PORT, _PORT)
)
_V2_START = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_HEAD = 16
_V2_MOST = 4096  # of addresses and of what is said beside them, such as a certificate
_LOCAL, _PROXIED = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
# What each family has at least. Of an unknown one and of a unix socket there is no address to take.
_V2_BYTES = {0x00: 0, _TCP4: 12, _TCP6: 36, 0x31: 216}


class Announcement(NamedTuple):
    peer: str | None
    """The address at its other side, as the load balancer said it. None: it speaks for itself, or does not know."""
    end: int
    """Where the client's own bytes begin."""


def announcement(data: bytes) -> Announcement | None:
    """What `data` begins with; None: it is not all there yet. Raises Malformed."""
    if _begins(data, _V2_START):
        return _version_2(data)
    if _begins(data, _V1_START):
        return _version_1(data)
    raise Malformed


def _begins(data: bytes, start: bytes) -> bool:
    return data.startswith(start) or start.startswith(data)


def _version_1(data: bytes) -> Announcement | None:
    end = data.find(b"\r\n", 0, _V1_BYTES) + 2
    if end == 1:
        if len(data) >= _V1_BYTES:
            raise Malformed
        return None
    match = _V1.fullmatch(data, 0, end)
    if match is None:
        raise Malformed
    family, source, target, *ports = match.groups()
    if family is None:
        return Announcement(None, end)
    if any(int(port) > 65535 for port in ports) or not _is_of(family, target):
        raise Malformed
    peer = parse(source.decode("ascii")) if _is_of(family, source) else None
    if peer is None:
        raise Malformed
    return Announcement(str(peer), end)


def _is_of(family: bytes, text: bytes) -> bool:
    return (b":" in text) == (family == b"TCP6") and parse(text.decode("ascii")) is not None


def _version_2(data: bytes) -> Announcement | None:
    if len(data) < _V2_HEAD:
        return None
    command, family, length = data[12], data[13], int.from_bytes(data[14:_V2_HEAD], "big")
    if command not in {_LOCAL, _PROXIED} or length > _V2_MOST:
        raise Malformed
    if command == _PROXIED and length < _V2_BYTES.get(family, _V2_MOST + 1):
        raise Malformed
    end = _V2_HEAD + length
    if len(data) < end:
        return None
    if command == _PROXIED and family == _TCP4:
        return Announcement(str(IPv4Address(data[16:20])), end)
    if command == _PROXIED and family == _TCP6:
        return Announcement(str(IPv6Address(data[16:32])), end)
    return Announcement(None, end)
