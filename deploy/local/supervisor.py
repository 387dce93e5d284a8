"""Runs one program and ends it when the launcher is gone, however that died. `processes.Process` starts it.

Standard input is a pipe that only the launcher holds. Its first line is the order (JSON); later lines are `stop` and
`kill`; its end means that the launcher is gone. Standard output tells the program's pid. The exit code is the
program's, or 128 plus the signal that ended it. It ends only when nothing of the program is left.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_REST_SECONDS = 3.0
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)


class Supervisor:
    def __init__(self, order: dict[str, Any]) -> None:
        self._grace = float(order["grace"])
        self._stop_signal = int(order["stop_signal"])
        self._kill_at: float | None = None
        self._libc = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._pid = os.getpid()
        if self._libc is not None:
            # What the program leaves behind becomes our child: it can be waited for, and does not stay a zombie where
            # the first process of a container reaps nobody.
            self._libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
        with Path(order["log"]).open("ab", buffering=0) as log:
            self.program = subprocess.Popen(
                order["command"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=order["cwd"],
                start_new_session=True,
                preexec_fn=self._before_exec,  # noqa: PLW1509 - there are no threads here
                **order["identity"],
            )

    def _before_exec(self) -> None:
        for number in _IGNORED:
            signal.signal(number, signal.SIG_DFL)
        # A second net below the pipe: the supervisor itself may be killed. A change of user would clear it, so last.
        if self._libc is not None:
            self._libc.prctl(_PR_SET_PDEATHSIG, self._stop_signal)
            if os.getppid() != self._pid:
                os._exit(1)

    def run(self, child_ended: int) -> int:
        """Watches until the program has ended; `child_ended` becomes readable when a child does."""
        watched = [0, child_ended]
        while self.program.poll() is None:
            left = None if self._kill_at is None else max(0.0, self._kill_at - time.monotonic())
            ready, _, _ = select.select(watched, [], [], left)
            if child_ended in ready:
                os.read(child_ended, 4096)
                self._reap_orphans()
            if 0 in ready and not self._obey(os.read(0, 4096)):
                watched = [child_ended]
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                self.program.kill()
                self._kill_at = time.monotonic() + 1.0
        self._end_the_rest()
        return self.program.returncode if self.program.returncode >= 0 else 128 - self.program.returncode

    def _reap_orphans(self) -> None:
        with contextlib.suppress(ChildProcessError):
            # Looked at first: the program's own end is for `poll` to collect.
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if ended.si_pid == self.program.pid:
                    return
                os.waitpid(ended.si_pid, 0)

    def _obey(self, words: bytes) -> bool:
        if b"kill" in words:
            self.program.kill()
        elif self._kill_at is None:
            self._kill_at = time.monotonic() + self._grace
            self.program.send_signal(self._stop_signal)
        return bool(words)

    def _end_the_rest(self) -> None:
        # Backends of a killed PostgreSQL leave by themselves, and a new server refuses the data until they have.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.program.pid, signal.SIGKILL)
        deadline = time.monotonic() + _REST_SECONDS
        with contextlib.suppress(ChildProcessError):
            while time.monotonic() < deadline + 1:
                if os.waitpid(-1, os.WNOHANG) == (0, 0):
                    if time.monotonic() > deadline:
                        _kill_children()
                    time.sleep(0.01)


def _kill_children() -> None:
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    if children.exists():
        for pid in children.read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def _read_line() -> bytes:
    # By the byte: a buffered reader would swallow a command that follows the order.
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit(0)
        line += byte
    return line


def main() -> int:
    # A Ctrl-C in the terminal and a closed terminal are for the launcher to answer, in its order.
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writing)
    try:
        supervisor = Supervisor(json.loads(_read_line()))
    except OSError as error:
        sys.stdout.write(f"failed {error}\n")
        return 127
    sys.stdout.write(f"started {supervisor.program.pid}\n")
    sys.stdout.flush()
    return supervisor.run(reading)


if __name__ == "__main__":
    sys.exit(main())
