"""Which ports are free."""

import errno
import os
import secrets
import socket
from collections.abc import Iterable

from deploy.local.errors import PortTaken

HOST = "127.0.0.1"
# Below the range from which systems take the local ports of outgoing connections (Linux from 32768, macOS from
# 49152): a server that is killed and started again must find its port as it left it.
_PORTS = "20000-31999"


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port whose last connections linger in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    # On macOS the bind succeeds beside a server that listens on all addresses.
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((HOST, port)) != 0


def free_port(avoid: Iterable[int] = ()) -> int:
    avoided = set(avoid)
    first, last = map(int, os.environ.get("PARLEY_PORTS", _PORTS).split("-"))
    while True:
        port = first + secrets.randbelow(last - first + 1)
        if port not in avoided and is_free(port):
            return port


def wanted_or_free(wanted: int, avoid: Iterable[int] = ()) -> int:
    return wanted if wanted not in set(avoid) and is_free(wanted) else free_port(avoid)


def require(port: int) -> None:
    if not is_free(port):
        raise PortTaken(port)
