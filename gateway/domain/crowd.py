"""How many connections there are at once: in all, of each address, and how many of an address are sockets.

A connection has one seat from its first byte to its last, also when it has become a tunnel. What it took is given back
once, by whoever hears of its end first.
"""

from gateway.domain.client_ip import Caller
from gateway.errors import ConnectionsExhausted, TooManyConnections


class Crowd:
    def __init__(self, *, connections: int, per_address: int, sockets_per_address: int) -> None:
        self.most = connections
        self.taken = 0
        self.addresses = Counts(per_address)
        self.sockets = Counts(sockets_per_address)


class Counts:
    """Up to so many of each key. A key without any is forgotten."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: dict[bytes, int] = {}

    def add(self, key: bytes) -> bool:
        """Whether there was room."""
        count = self._counts.get(key, 0)
        if count >= self._most:
            return False
        self._counts[key] = count + 1
        return True

    def remove(self, key: bytes) -> None:
        left = self._counts[key] - 1
        if left:
            self._counts[key] = left
        else:
            del self._counts[key]

    def __len__(self) -> int:
        return len(self._counts)


class Seat:
    """What one connection takes. Addresses are those that limits count: an IPv6 network is one."""

    __slots__ = ("_address", "_crowd", "_socket", "_taken")

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._taken = False
        self._address: bytes | None = None
        self._socket: bytes | None = None

    def take(self, peer: Caller) -> None:
        """Raises ConnectionsExhausted or TooManyConnections. A trusted proxy brings the connections of many."""
        crowd = self._crowd
        if crowd.taken >= crowd.most:
            raise ConnectionsExhausted
        if not (peer.exempt or peer.peer_trusted):
            if not crowd.addresses.add(peer.key):
                raise TooManyConnections
            self._address = peer.key
        crowd.taken += 1
        self._taken = True

    def open_socket(self, caller: Caller) -> bool:
        """Whether the caller, who may have come through a proxy, can have one more. A connection asks once."""
        if caller.exempt:
            return True
        if not self._crowd.sockets.add(caller.key):
            return False
        self._socket = caller.key
        return True

    def leave(self) -> None:
        if self._taken:
            self._taken = False
            self._crowd.taken -= 1
        if self._address is not None:
            self._crowd.addresses.remove(self._address)
            self._address = None
        if self._socket is not None:
            self._crowd.sockets.remove(self._socket)
            self._socket = None
