import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

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
