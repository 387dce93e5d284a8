"""Servers that hang: connected, and silent for as long as a test needs."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.local.servers import Server


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """It keeps its connections and answers nobody; what it is told meanwhile it does afterwards."""
    assert server.process is not None
    assert server.process.pid is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
