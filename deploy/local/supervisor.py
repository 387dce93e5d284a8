"""Runs one program and ends it when the launcher is gone, however that died. `processes.Process` starts it.

Standard input is a pipe that only the launcher holds. Its first line is the order (JSON); later lines are `stop`,
`kill` and `replace`; its end means that the launcher is gone. Standard output tells the program's pid. The exit code is
the program's, or 128 plus the signal that ended it. It ends only when nothing of the program is left.

With `listen` in the order the socket is opened here and inherited (PARLEY_LISTEN_FD). So `replace` can start a
successor on it, wait until that says that it takes requests (PARLEY_READY_FD), and only then stop the one before: no
connection is refused in between. When the program dies the socket is gone with us, and callers hear it at once.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_REST_SECONDS = 3.0
_BACKLOG = 2048
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)


class Supervisor:
    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        self._grace = float(order["grace"])
        self._stop_signal = int(order["stop_signal"])
        self._kill_at: float | None = None
        self._libc = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._pid = os.getpid()
        if self._libc is not None:
            # What the program leaves behind becomes our child: it can be waited for, and does not stay a zombie where
            # the first process of a container reaps nobody.
            self._libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._listener = socket.create_server(tuple(order["listen"]), backlog=_BACKLOG) if order["listen"] else None
        self._successor: Successor | None = None
        self._leaving: dict[subprocess.Popen[bytes], float] = {}
        """Those that were replaced and finish what they have begun, and when they are killed."""
        self.program = self._launch()

    def _launch(self, ready: int | None = None) -> "subprocess.Popen[bytes]":
        handed = {"PARLEY_READY_FD": ready}
        if self._listener is not None:
            handed["PARLEY_LISTEN_FD"] = self._listener.fileno()
        given = {name: handle for name, handle in handed.items() if handle is not None}
        with Path(self._order["log"]).open("ab", buffering=0) as log:
            return subprocess.Popen(
                self._order["command"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._order["cwd"],
                env={**os.environ, **{name: str(handle) for name, handle in given.items()}},
                pass_fds=tuple(given.values()),
                start_new_session=True,
                preexec_fn=self._before_exec,  # noqa: PLW1509 - there are no threads here
                **self._order["identity"],
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
        while self._going_on():
            successor = self._successor
            also = [successor.ready] if successor is not None else []
            ready, _, _ = select.select([*watched, *also], [], [], self._patience())
            if child_ended in ready:
                os.read(child_ended, 4096)
                self._reap_orphans()
            if successor is not None and successor.ready in ready:
                self._succeed(successor)
            if 0 in ready and not self._obey(os.read(0, 4096)):
                watched = [child_ended]
            self._insist(time.monotonic())
        self._close_door()
        self._end_the_rest()
        return self.program.returncode if self.program.returncode >= 0 else 128 - self.program.returncode

    def _close_door(self) -> None:
        # Whoever knocks is to be refused at once, not to wait for an answer that nobody will give.
        if self._listener is not None:
            self._listener.close()

    def _going_on(self) -> bool:
        """Those that were replaced are waited for only where all was told to stop: a death is told at once."""
        stopping = self._kill_at is not None and any(program.poll() is None for program in self._leaving)
        return self.program.poll() is None or stopping

    def _patience(self) -> float | None:
        """Seconds until somebody's time is over."""
        ends = [*self._leaving.values()]
        ends += [self._kill_at] if self._kill_at is not None else []
        ends += [self._successor.until] if self._successor is not None else []
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _insist(self, now: float) -> None:
        if self._kill_at is not None and now >= self._kill_at:
            for program in (self.program, *self._leaving):
                program.kill()
            self._kill_at = now + 1.0
        for program, kill_at in list(self._leaving.items()):
            if program.poll() is not None:
                del self._leaving[program]
            elif now >= kill_at:
                program.kill()
                self._leaving[program] = now + 1.0
        if self._successor is not None and now >= self._successor.until:
            self._give_up(self._successor, "it was not ready in time")

    def _replace(self) -> None:
        reading, writing = os.pipe()
        try:
            program = self._launch(writing)
        except OSError as error:
            os.close(reading)
            _say(f"failed {error}")
            return
        finally:
            os.close(writing)
        self._successor = Successor(program, reading, time.monotonic() + float(self._order["ready"]))

    def _succeed(self, successor: "Successor") -> None:
        """It has said that it takes requests, or has ended before it could."""
        if not os.read(successor.ready, 64):
            self._give_up(successor, "it ended before it was ready")
            return
        os.close(successor.ready)
        self._successor = None
        self._leaving[self.program] = time.monotonic() + float(self._order["leave"])
        self.program.send_signal(self._stop_signal)
        self.program = successor.program
        _say(f"replaced {self.program.pid}")

    def _give_up(self, successor: "Successor", why: str) -> None:
        self._successor = None
        os.close(successor.ready)
        successor.program.kill()
        successor.program.wait()
        _say(f"failed {why}")

    def _reap_orphans(self) -> None:
        ours = [self.program, *self._leaving, *([self._successor.program] if self._successor is not None else [])]
        with contextlib.suppress(ChildProcessError):
            # Looked at first: the ends of our own are for `poll` to collect.
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                mine = next((program for program in ours if program.pid == ended.si_pid), None)
                if mine is None:
                    os.waitpid(ended.si_pid, 0)
                else:
                    mine.poll()

    def _obey(self, words: bytes) -> bool:
        if b"kill" in words:
            for program in (self.program, *self._leaving):
                program.kill()
        elif b"replace" in words:
            self._replace()
        elif self._kill_at is None:
            self._close_door()
            self._kill_at = time.monotonic() + self._grace
            self.program.send_signal(self._stop_signal)
        return bool(words)

    def _end_the_rest(self) -> None:
        if self._successor is not None:
            self._give_up(self._successor, "the one before has ended")
        for program in (self.program, *self._leaving):
            # Backends of a killed PostgreSQL leave by themselves, and a new server refuses the data until they have.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(program.pid, signal.SIGKILL)
        deadline = time.monotonic() + _REST_SECONDS
        with contextlib.suppress(ChildProcessError):
            while time.monotonic() < deadline + 1:
                if os.waitpid(-1, os.WNOHANG) == (0, 0):
                    if time.monotonic() > deadline:
                        _kill_children()
                    time.sleep(0.01)


class Successor(NamedTuple):
    program: "subprocess.Popen[bytes]"
    ready: int
    """The end of a pipe that becomes readable when it takes requests, and ends when it has ended."""
    until: float


def _say(text: str) -> None:
    # The launcher may be gone.
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


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
        _say(f"failed {error}")
        return 127
    _say(f"started {supervisor.program.pid}")
    return supervisor.run(reading)


if __name__ == "__main__":
    sys.exit(main())
