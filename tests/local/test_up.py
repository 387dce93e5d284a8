"""`./parley up` for real, once: what it prints works, and Ctrl-C leaves nothing."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local import ports
from deploy.local.binaries import CHECKOUT
from deploy.local.environment import scrubbed
from tests.local.machine import open_folder
from tests.local.test_processes import gone


@dataclass
class Up:
    process: "subprocess.Popen[str]"
    state: Path
    printed: str


def environment(state: Path) -> dict[str, str]:
    # Empty, and not only absent: a `.env` in the checkout may name the servers that a developer works with.
    names = ("AUTH_DATABASE_URL", "CHAT_DATABASE_URL", "NOTIFY_DATABASE_URL", "REDIS_URL")
    own = {"PARLEY_STATE": str(state), "PARLEY_PORTS": os.environ["PARLEY_PORTS"]}
    return {**scrubbed(os.environ), **dict.fromkeys(names, ""), **own}


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    with open_folder() as folder, contextlib.ExitStack() as stack:
        state = folder / "state"
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "deploy.local", "up", "--port", str(ports.free_port())],
                cwd=CHECKOUT,
                env=environment(state),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        stack.callback(process.kill)
        assert process.stdout is not None
        printed = ""
        for line in process.stdout:
            printed += line
            if "deploy.local.listen" in line:
                break
        else:
            pytest.fail(printed)
        yield Up(process, state, printed)


def test_it_prints_addresses_that_answer(up: Up) -> None:
    addresses = dict(re.findall(r"^  (Gateway|API|Mailbox) +(\S+)$", up.printed, re.MULTILINE))
    assert len(addresses) == 3
    for url in (addresses["API"], addresses["Mailbox"], addresses["Gateway"] + "/health"):
        with urllib.request.urlopen(url, timeout=60) as answer:
            assert answer.status == 200


@pytest.mark.promise("O19")
def test_its_commands_to_try_work_as_printed(up: Up) -> None:
    script = up.printed[up.printed.index("  TOKEN=") : up.printed.index("  .venv/bin/python")]
    finished = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(finished.stdout)["results"] == []


def test_commands_of_a_service_run_beside_it(up: Up) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "deploy.local", "auth", "seed-demo"],
        cwd=CHECKOUT,
        env=environment(up.state),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr


def restarted(up: Up, *names: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "deploy.local", "restart", *names],
        cwd=CHECKOUT,
        env=environment(up.state),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.promise("G37")
def test_restart_renews_what_is_named_and_its_address_stays(up: Up) -> None:
    url = json.loads((up.state / "running.json").read_text())["url"]
    finished = restarted(up, "gateway", "notify-worker")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.splitlines() == ["gateway runs anew", "notify-worker runs anew"]
    with urllib.request.urlopen(f"{url}/health", timeout=60) as answer:
        assert answer.status == 200


def test_restart_of_what_is_not_there_says_what_is(up: Up) -> None:
    finished = restarted(up, "gatway")
    assert finished.returncode == 1
    assert "There is no process gatway. There are: " in finished.stderr
    assert "gateway" in finished.stderr


@pytest.mark.promise("O12")
async def test_ctrl_c_leaves_nothing_and_the_data_stays(up: Up) -> None:
    running = json.loads((up.state / "running.json").read_text())
    pids = [int(pid) for pid in _pids_of(up.process.pid)]
    assert len(pids) > len(running["env"])
    up.process.send_signal(signal.SIGINT)
    output, _ = up.process.communicate(timeout=60)
    assert up.process.returncode == 0
    assert "Everything is stopped" in output
    assert await gone(*pids)
    assert (up.state / "postgres" / "data" / "PG_VERSION").exists()
    assert not (up.state / "running.json").exists()
    assert ports.is_free(int(running["url"].rpartition(":")[2]))


def _pids_of(launcher: int) -> list[str]:
    """Children and grandchildren: supervisors and what they run."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = dict(line.split() for line in listed.splitlines())
    children = [pid for pid, parent in parents.items() if parent == str(launcher)]
    return children + [pid for pid, parent in parents.items() if parent in children]
