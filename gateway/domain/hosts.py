"""Under which names the gateway is called, and whether it may be called in clear.

Whoever calls by a name that is not ours has pointed one of his own here, or wants a cache or a link to believe in it.
What came in clear although TLS ends in front is sent back to begin again.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from gateway.domain.head import Fields

# As in the setting: a name, an address, or all names below one.
_NAME = re.compile(r"(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_IPV6 = re.compile(r"\[[0-9a-f:.]{2,45}\]")
_PORT = re.compile(rb":[0-9]*\Z")
_LONGEST = 255


class Astray(Enum):
    """Why a request is at the wrong door."""

    HOST = "host"  # it asks for a host that is not ours
    CLEAR = "clear"  # it came in clear, where TLS is declared


class Hosts:
    """An empty list: any name. `*.example.com` is every name below `example.com`, not itself."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Raises ValueError for what is no name of a host."""
        names = [_checked(text) for text in texts]
        self._exact = frozenset(name.encode() for name in names if not name.startswith("*"))
        self._below = tuple(name[1:].encode() for name in names if name.startswith("*"))
        self._any = not names
        self.allows = lru_cache(maxsize=1024)(self._allows)

    def _allows(self, host: bytes | None) -> bool:
        """`host` as the client wrote it, with or without a port. None: it named none."""
        if self._any:
            return True
        if host is None:
            return False
        name = bare(host).lower().removesuffix(b".")
        return name in self._exact or (name.endswith(self._below) and not name.startswith(b"."))


@dataclass(frozen=True, slots=True)
class Doorway:
    hosts: Hosts
    https: bool
    """TLS is declared to end in front."""

    def astray(self, fields: Fields, *, trusted: bool) -> Astray | None:
        """`trusted`: the fields come from a proxy of ours, which knows how it was asked."""
        hosts = fields.noted.get(b"host")
        if not self.hosts.allows(hosts[0] if hosts else None):
            return Astray.HOST
        if self.https and _in_clear(fields, trusted=trusted):
            return Astray.CLEAR
        return None


def bare(host: bytes) -> bytes:
    """Without its port. An IPv6 address keeps its brackets."""
    return _PORT.sub(b"", host)


def _in_clear(fields: Fields, *, trusted: bool) -> bool:
    # A proxy that does not say is believed to encrypt: sending its clients back to it would never end.
    said = fields.noted.get(b"x-forwarded-proto")
    return not trusted or (said is not None and [value.lower() for value in said] not in _ENCRYPTED)


def _checked(text: str) -> str:
    name = text.lower().removesuffix(".")
    if len(name) > _LONGEST or (_NAME.fullmatch(name) is None and _IPV6.fullmatch(name) is None):
        raise ValueError(
            f"{text!r} is no name of a host; write it as api.example.com or *.example.com, without a port."
        )
    return name


_ENCRYPTED = ([b"https"], [b"wss"])
