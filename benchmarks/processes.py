"""Starting what is measured. Everything ends with the comparison, and with the harness if that is killed."""

import asyncio
import os
import shutil
import socket
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp
from typing import TypeVar

from benchmarks import cpu
from deploy.local.ports import HOST, free_port
from deploy.local.processes import Process

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".parley" / "benchmarks"
Answer = TypeVar("Answer")

__all__ = ["HOST", "ROOT", "STATE", "Servers", "free_port"]


class Servers(ExitStack):
    """Servers of one comparison, stopped in reverse order when it is over."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = self.enter_context(asyncio.Runner())

    def run(self, task: Awaitable[Answer]) -> Answer:
        async def awaited() -> Answer:
            return await task

        return self._runner.run(awaited())

    def scratch(self, name: str) -> Path:
        """A folder for one server's files, gone with it."""
        STATE.mkdir(parents=True, exist_ok=True)
        folder = Path(mkdtemp(prefix=f"{name}-", dir=STATE))
        self.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def serve(
        self,
        argv: Sequence[str | Path],
        port: int,
        *,
        name: str,
        cores: set[int] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> int:
        """Start, wait until the port answers, return the process id."""
        process = self._started(argv, name=name, env=env, cwd=cwd)
        self.run(process.ready(lambda: answers(port)))
        return pinned(process, cores)

    def start(
        self,
        argv: Sequence[str | Path],
        *,
        name: str,
        cores: set[int] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> int:
        """A program without a port: a worker."""
        return pinned(self._started(argv, name=name, env=env, cwd=cwd), cores)

    def _started(self, argv: Sequence[str | Path], *, name: str, env: Mapping[str, str] | None, cwd: Path) -> Process:
        log = STATE / "logs" / f"{name}.log"
        process = Process(name, argv, log, env={**os.environ, **(env or {})}, cwd=cwd)
        self.run(process.start())
        self.callback(lambda: self.run(process.stop()))
        return process


def pinned(process: Process, cores: set[int] | None) -> int:
    pid = process.pid or 0
    if cores:
        cpu.pin([pid], cores)
    return pid


async def answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False
