"""One supervised program: start it, wait until it is ready, stop it, kill it, read what it wrote."""

import asyncio
import contextlib
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.local.errors import ProcessError
from deploy.local.logs import readable

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_POLL_SECONDS = 0.01
_LONGEST_POLL_SECONDS = 0.2
_ROTATE_BYTES = 20 << 20
_TAIL_LINES = 25
_READY_SECONDS = 60.0
# More than the half a minute in which a service finishes what it has begun.
_LEAVE_SECONDS = 45.0

Identity = Mapping[str, object]
Check = Callable[[], Awaitable[bool]]


def unprivileged() -> Identity:
    """As whom to run the servers that refuse root: `nobody` for root, otherwise whoever we are."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@dataclass(eq=False)
class Process:
    """Ends with the process that started it, also when that is killed. Can be started again when it has ended."""

    name: str
    command: Sequence[str | Path]
    log: Path
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    identity: Identity = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    listen: tuple[str, int] | None = None
    """Host and port of the socket that the program inherits; one that has it can be replaced."""
    grace: float = 15.0
    """Seconds from the stop signal to SIGKILL."""
    keep_open: Sequence[int] = ()
    """Descriptors that stay open as long as the program may run: a lock that says so."""

    pid: int | None = field(default=None, init=False)
    _supervisor: "subprocess.Popen[bytes] | None" = field(default=None, init=False, repr=False)
    _log_start: int = field(default=0, init=False, repr=False)

    @property
    def running(self) -> bool:
        return self._supervisor is not None and self._supervisor.poll() is None

    @property
    def exit_code(self) -> int | None:
        """As shells give it: 128 plus the signal that ended the program."""
        return None if self._supervisor is None else self._supervisor.poll()

    async def start(self) -> None:
        if self.running:
            raise ProcessError(f"{self.name} runs already.")
        self._close_pipes()
        self._log_start = _prepare_log(self.log)
        # Takes about a millisecond, and asyncio's own way is bound to one event loop.
        self._supervisor = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-I", str(_SUPERVISOR)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=None if self.env is None else dict(self.env),
            pass_fds=tuple(self.keep_open),
            start_new_session=True,
        )
        self._send(json.dumps(self._order()))
        answer = await asyncio.to_thread(_read_answer, self._supervisor)
        if not answer.startswith("started "):
            await self._ended()
            raise ProcessError(f"{self.name} could not be started: {answer.removeprefix('failed ')}")
        self.pid = int(answer.split()[1])

    async def ready(self, check: Check, *, timeout: float = 60.0) -> None:
        """Waits until the check holds; stops waiting at once when the program ends."""
        deadline = time.monotonic() + timeout
        pause = _POLL_SECONDS
        while not await check():
            if not self.running:
                raise ProcessError(f"{self.name} ended with code {self.exit_code}.{self.tail()}")
            if time.monotonic() > deadline:
                raise ProcessError(f"{self.name} was not ready after {timeout:.0f} s.{self.tail()}")
            await asyncio.sleep(pause)
            # Ten processes that wait for the processor must not lose it to ten that ask whether they are there.
            pause = min(pause * 1.5, _LONGEST_POLL_SECONDS)

    async def wait(self) -> int | None:
        """Until the program has ended, for whatever reason."""
        while self.running:  # noqa: ASYNC110 - nothing of the event loop tells when the supervisor ends
            await asyncio.sleep(_POLL_SECONDS)
        return self.exit_code

    async def stop(self) -> None:
        """Asks it to end, and insists after `grace` seconds."""
        if self.running:
            self._send("stop")
        await self._ended()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def replace(self) -> None:
        """By a successor on the same socket. The one before is stopped when that takes requests, and goes on if not."""
        if not self.running or self._supervisor is None:
            raise ProcessError(f"{self.name} does not run.")
        self._send("replace")
        answer = await asyncio.to_thread(_read_answer, self._supervisor)
        if not answer.startswith("replaced "):
            raise ProcessError(f"{self.name} was not replaced: {answer.removeprefix('failed ')}.{self.tail()}")
        self.pid = int(answer.split()[1])

    def kill(self) -> None:
        """`kill -9`, now; returns when it is gone."""
        if self.running and self._supervisor is not None:
            self._send("kill")
            self._supervisor.wait(10)
            self._close_pipes()

    def output(self) -> str:
        """What it wrote since its last start."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    def _order(self) -> dict[str, Any]:
        return {
            "command": [str(part) for part in self.command],
            "log": str(self.log),
            "cwd": str(self.cwd) if self.cwd else None,
            "identity": dict(self.identity),
            "stop_signal": int(self.stop_signal),
            "grace": self.grace,
            "listen": self.listen,
            "ready": _READY_SECONDS,
            "leave": _LEAVE_SECONDS,
        }

    def _send(self, line: str) -> None:
        if self._supervisor is not None and self._supervisor.stdin is not None:
            # It may have ended in this very moment.
            with contextlib.suppress(BrokenPipeError):
                self._supervisor.stdin.write(line.encode() + b"\n")
                self._supervisor.stdin.flush()

    async def _ended(self) -> None:
        await self.wait()
        self._close_pipes()

    def _close_pipes(self) -> None:
        if self._supervisor is not None:
            for pipe in (self._supervisor.stdin, self._supervisor.stdout):
                if pipe is not None:
                    # Closing flushes, and there may be nobody left to read.
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()

    def tail(self) -> str:
        written = (readable(line) for line in self.output().splitlines()[-_TAIL_LINES:])
        lines = "\n".join(written).splitlines()[-_TAIL_LINES:]
        return "".join(f"\n  | {line}" for line in lines) if lines else " It wrote nothing."


def _prepare_log(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    if path.stat().st_size > _ROTATE_BYTES:
        path.replace(path.with_suffix(".old.log"))
        path.touch(mode=0o600)
    return path.stat().st_size


def _read_answer(supervisor: "subprocess.Popen[bytes]") -> str:
    if supervisor.stdout is None:
        return ""
    return supervisor.stdout.readline().decode(errors="replace").strip()
