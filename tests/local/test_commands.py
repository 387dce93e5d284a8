"""The command line behind `./parley`, on a state folder of its own, as another process."""

import asyncio
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local import ports
from deploy.local.binaries import CHECKOUT
from deploy.local.errors import StateInUse
from deploy.local.state import State
from tests.local.machine import open_folder, readable_python


def parley(state: Path, *arguments: str, answer: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "deploy.local", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "PARLEY_STATE": str(state)},
        input=answer,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.promise("O15")
def test_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server((ports.HOST, 0)) as other:
        port = other.getsockname()[1]
        finished = parley(tmp_path / "state", "up", "--port", str(port))
    assert finished.returncode == 1
    assert f"Port {port} is taken" in finished.stderr
    assert "--port" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert list((tmp_path / "state" / "logs").iterdir()) == []


def test_port_that_is_none(tmp_path: Path) -> None:
    finished = parley(tmp_path / "state", "up", "--port", "70000")
    assert finished.returncode == 2
    assert "a port is a number from 1 to 65535" in finished.stderr


@pytest.mark.promise("O16")
async def test_second_start_on_the_same_folder_says_who_runs(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    async with state.held():
        state.tell({"url": "http://127.0.0.1:8123", "env": {}})
        finished = await asyncio.to_thread(parley, state.folder, "up", "--port", str(ports.free_port()))
    assert finished.returncode == 1
    assert f"Parley already runs on {state.folder} at http://127.0.0.1:8123 (process {os.getpid()})" in finished.stderr
    assert "PARLEY_STATE" in finished.stderr


async def test_clean_refuses_while_a_launcher_runs(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    async with state.held():
        finished = await asyncio.to_thread(parley, state.folder, "clean", "--yes")
    assert finished.returncode == 1
    assert "Parley runs on" in finished.stderr
    assert state.folder.exists()


def test_restart_without_a_stack_says_so(tmp_path: Path) -> None:
    finished = parley(tmp_path / "state", "restart")
    assert finished.returncode == 1
    assert "Parley does not run" in finished.stderr


def test_clean_asks_first(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    assert parley(state.folder, "clean").stdout == "There is nothing to remove.\n"
    state.make()
    for answer, left in (("", True), ("n\n", True), ("y\n", False)):
        assert parley(state.folder, "clean", answer=answer).returncode == int(left)
        assert state.folder.exists() == left


def test_clean_with_yes_asks_nothing(tmp_path: Path) -> None:
    State(tmp_path / "state").make()
    assert parley(tmp_path / "state", "clean", "--yes").returncode == 0
    assert not (tmp_path / "state").exists()


def test_help_needs_the_standard_library_alone() -> None:
    finished = subprocess.run(
        [readable_python(), "-S", "-m", "deploy.local", "--help"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    for command in ("up", "restart", "test", "bench", "migrate", "logs", "clean", "auth chat notify gateway"):
        assert command in finished.stdout


def test_test_with_arguments_is_pytest(tmp_path: Path) -> None:
    finished = parley(tmp_path / "state", "test", "--version")
    assert finished.returncode == 0
    assert finished.stdout.startswith("pytest ")
    assert parley(tmp_path / "state", "test", "no/such/file").returncode == 4


def test_command_of_a_service_without_a_stack_gets_servers_for_the_moment() -> None:
    with open_folder() as folder:
        finished = parley(folder / "state", "gateway", "no-such-command")
        assert finished.returncode == 2
        assert "no-such-command" in finished.stderr
        assert "database system is shut down" in (folder / "state" / "logs" / "postgres.log").read_text()


def test_logs_before_the_first_start(tmp_path: Path) -> None:
    finished = parley(tmp_path / "state", "logs")
    assert finished.returncode == 1
    assert "There is no log of anything yet" in finished.stderr


async def test_start_waits_for_what_a_killed_launcher_left(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    async with state.held() as lock:
        supervisor = subprocess.Popen(  # noqa: ASYNC220
            ["sleep", "0.5"], pass_fds=(lock,)
        )
    async with state.held():
        assert supervisor.poll() is not None


async def test_a_state_folder_is_held_once(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    async with state.held():
        assert state.in_use
        with pytest.raises(StateInUse, match="already runs"):
            async with State(state.folder).held():
                pass
    assert not state.in_use
    assert state.told() is None


def test_secrets_are_kept_and_readable_by_their_owner_alone(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    state.make()
    secrets = state.secrets()
    assert secrets == State(state.folder).secrets()
    assert len(set(secrets.values())) == len(secrets)
    assert stat.S_IMODE((state.folder / "secrets.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(state.logs.stat().st_mode) == 0o700


def test_free_port_is_outside_the_range_of_outgoing_connections() -> None:
    assert 20000 <= ports.free_port() < 32000


def test_wanted_port_is_given_up_when_taken() -> None:
    with socket.create_server((ports.HOST, 0)) as other:
        taken = other.getsockname()[1]
        assert ports.wanted_or_free(taken) != taken
    free = ports.free_port()
    assert ports.wanted_or_free(free) == free
    assert ports.wanted_or_free(free, avoid=[free]) != free
