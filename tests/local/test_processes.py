import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from deploy.local import ports
from deploy.local.errors import ProcessError
from deploy.local.processes import Process

SLEEP = "import time; print('awake', flush=True); time.sleep(600)"


def python(script: str, folder: Path, **options: object) -> Process:
    return Process("program", [sys.executable, "-c", script], log=folder / "program.log", **options)  # type: ignore[arg-type]


async def says(process: Process, word: str) -> None:
    async def check() -> bool:
        return word in process.output()

    await process.ready(check)


async def gone(*pids: int) -> bool:
    """Within ten seconds. A zombie that nobody collects is gone as well."""
    for _ in range(1000):
        if not any(map(alive, pids)):
            return True
        await asyncio.sleep(0.01)
    return False


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    try:
        return not status.parent.parent.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_stop_ends_the_program_with_its_signal(tmp_path: Path) -> None:
    process = python(SLEEP, tmp_path)
    await process.start()
    await says(process, "awake")
    await process.stop()
    assert not process.running
    assert process.exit_code == 128 + signal.SIGTERM


async def test_stop_kills_a_program_that_does_not_listen(tmp_path: Path) -> None:
    process = python(f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}", tmp_path, grace=0.1)
    await process.start()
    await says(process, "awake")
    await process.stop()
    assert process.exit_code == 128 + signal.SIGKILL


async def test_stop_ends_what_the_program_started(tmp_path: Path) -> None:
    script = "import subprocess; child = subprocess.Popen(['sleep', '600']); print('child', child.pid, flush=True)"
    process = python(f"{script}; {SLEEP}", tmp_path)
    await process.start()
    await says(process, "awake")
    child = int(process.output().split()[1])
    await process.stop()
    assert await gone(child)


async def test_kill_ends_it_at_once_and_it_starts_again(tmp_path: Path) -> None:
    process = python(SLEEP, tmp_path)
    await process.start()
    await says(process, "awake")
    first = process.pid
    process.kill()
    assert not process.running
    assert process.exit_code == 128 + signal.SIGKILL
    await process.start()
    await says(process, "awake")
    assert process.pid != first
    await process.stop()


async def test_exit_code_is_the_programs_own(tmp_path: Path) -> None:
    process = python("raise SystemExit(7)", tmp_path)
    await process.start()
    assert await process.wait() == 7
    await process.stop()


async def test_ready_tells_the_last_lines_when_the_program_ends(tmp_path: Path) -> None:
    process = python("print('first'); print('no such table'); raise SystemExit(3)", tmp_path)
    await process.start()

    async def never() -> bool:
        return False

    with pytest.raises(ProcessError, match=r"(?s)ended with code 3.*no such table"):
        await process.ready(never)
    await process.stop()


async def test_start_of_a_program_that_does_not_exist(tmp_path: Path) -> None:
    process = Process("ghost", [tmp_path / "nothing"], log=tmp_path / "ghost.log")
    with pytest.raises(ProcessError, match=r"ghost could not be started.*No such file"):
        await process.start()
    assert not process.running


async def test_start_twice_is_refused(tmp_path: Path) -> None:
    process = python(SLEEP, tmp_path)
    await process.start()
    with pytest.raises(ProcessError, match="runs already"):
        await process.start()
    await process.stop()


async def test_output_is_that_of_the_last_start(tmp_path: Path) -> None:
    process = python("import os; print(os.getpid())", tmp_path)
    for _ in range(2):
        await process.start()
        await process.wait()
        assert process.output().split() == [str(process.pid)]
    await process.stop()
    assert len(process.log.read_text().split()) == 2
    assert process.log.stat().st_mode & 0o777 == 0o600


async def test_a_long_log_is_put_aside_at_the_next_start(tmp_path: Path) -> None:
    process = python("print('new')", tmp_path)
    process.log.write_bytes(b"x" * (21 << 20))
    await process.start()
    await process.wait()
    await process.stop()
    assert process.log.read_text() == "new\n"
    assert (tmp_path / "program.old.log").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a program to its parent")
async def test_the_program_ends_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    process = python(SLEEP, tmp_path)
    await process.start()
    await says(process, "awake")
    assert process.pid is not None
    assert process._supervisor is not None
    os.kill(process._supervisor.pid, signal.SIGKILL)
    assert await gone(process.pid)
    await process.stop()


INHERITING = """
import os, select, signal, socket, sys, time
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(True))
listener = socket.socket(fileno=int(os.environ["PARLEY_LISTEN_FD"]))
listener.setblocking(False)
if "PARLEY_READY_FD" in os.environ:
    STARTING
    os.write(int(os.environ["PARLEY_READY_FD"]), b"ready")
while not told:
    if select.select([listener], [], [], 0.05)[0]:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            continue
        connection.sendall(str(os.getpid()).encode())
        connection.close()
listener.close()
time.sleep(LEAVING)
"""


def inheriting(folder: Path, port: int, *, starting: str = "pass", leaving: float = 0.0) -> Process:
    script = INHERITING.replace("STARTING", starting).replace("LEAVING", str(leaving))
    return python(script, folder, listen=(ports.HOST, port))


async def who(port: int) -> int:
    """The pid of whoever answers. Raises where nobody does."""
    reader, writer = await asyncio.open_connection(ports.HOST, port)
    async with asyncio.timeout(20):
        said = await reader.read()
    writer.close()
    return int(said)


@pytest.mark.promise("G37")
async def test_successor_takes_over_and_no_connection_is_refused(tmp_path: Path) -> None:
    port = ports.free_port()
    process = inheriting(tmp_path, port)
    await process.start()
    answered, stop = [], asyncio.Event()

    async def knock() -> None:
        while not stop.is_set():
            answered.append(await who(port))

    knocking = [asyncio.create_task(knock()) for _ in range(3)]
    pids = [process.pid]
    for _ in range(3):
        await process.replace()
        pids.append(process.pid)
    assert await gone(*(pid for pid in pids[:3] if pid))
    before = len(answered)
    async with asyncio.timeout(20):
        while len(answered) < before + 10:
            await asyncio.sleep(0.01)
    stop.set()
    await asyncio.gather(*knocking)
    assert len(set(pids)) == 4
    assert set(answered) <= set(pids)
    assert answered[-1] == process.pid
    await process.stop()
    with pytest.raises(ConnectionRefusedError):
        await who(port)


@pytest.mark.promise("G37")
@pytest.mark.parametrize("starting", ["sys.exit(3)", "time.sleep(600)"])
async def test_successor_that_does_not_come_up_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starting: str
) -> None:
    monkeypatch.setattr("deploy.local.processes._READY_SECONDS", 2.0)
    port = ports.free_port()
    process = inheriting(tmp_path, port, starting=starting)
    await process.start()
    pid = process.pid
    for _ in range(2):
        with pytest.raises(ProcessError, match="program was not replaced"):
            await process.replace()
    assert (process.pid, await who(port)) == (pid, pid)
    await process.stop()


async def test_stop_waits_for_what_was_replaced(tmp_path: Path) -> None:
    process = inheriting(tmp_path, ports.free_port(), leaving=0.5)
    await process.start()
    first = process.pid
    await process.replace()
    assert first
    await process.stop()
    assert not alive(first)


async def test_port_of_a_program_that_was_killed_is_closed(tmp_path: Path) -> None:
    port = ports.free_port()
    process = inheriting(tmp_path, port)
    await process.start()
    await process.replace()
    process.kill()
    with pytest.raises(ConnectionRefusedError):
        await who(port)


async def test_taken_port_is_told(tmp_path: Path) -> None:
    with socket.create_server((ports.HOST, 0)) as other:
        process = inheriting(tmp_path, other.getsockname()[1])
        with pytest.raises(ProcessError, match=r"could not be started.*in use"):
            await process.start()


async def test_program_that_does_not_run_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="does not run"):
        await inheriting(tmp_path, ports.free_port()).replace()
