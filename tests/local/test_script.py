"""The shell script `./parley` up to the point where Python takes over, with Pythons that only pretend."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.binaries import CHECKOUT

TOOLS = ("sh", "cksum", "cp", "dirname", "id", "mkdir", "readlink", "rm", "sleep", "tr")

# Answers the questions of the script as a Python of the given version would, and writes down what it was told to do.
# The copy in `.venv` carries its own name, as `python -m venv` makes it.
FAKE = """#!/bin/sh
note() {{ printf '%s\\n' "$*" >>"{diary}"; }}
case "$*" in
    *version_info\\[*) echo "{version}" ;;
    *'sys.exit('*) exit 0 ;;
    *ensurepip*) exit {bare} ;;
    *fcntl*) exec "{python}" "$@" ;;
    *importlib.metadata*) [ -e "{diary}.uv" ] ;;
    --version) echo "Python {version}" ;;
    '-m venv'*) note venv; sleep 0.2; mkdir -p "$4/bin"; cp "$0" "$4/bin/python" ;;
    *'pip install'*uv==*) note get uv; : >"{diary}.uv" ;;
    *'pip install'*) note pip "$@" ;;
    '-m uv sync'*) note uv "$@"; exit {uv} ;;
    '-m uv export'*) exit 0 ;;
    '-m deploy.local'*) shift 2; note run "$PWD" "$@" ;;
    *) note unexpected "$@"; exit 99 ;;
esac
"""


class Machine:
    """A checkout in a folder with a space, and a PATH with nothing but the tools that every system has."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "check out"
        self.bin = folder / "bin"
        self._diary = folder / "diary"
        self.checkout.mkdir()
        self.bin.mkdir()
        shutil.copy(CHECKOUT / "parley", self.checkout)
        (self.checkout / "uv.lock").write_text("version = 1\n")
        for tool in TOOLS:
            (self.bin / tool).symlink_to(str(shutil.which(tool)))

    def add_python(self, name: str, version: str, *, bare: bool = False, uv_fails: bool = False) -> Path:
        path = self.bin / name
        real = Path(sys.executable).resolve()
        path.write_text(FAKE.format(diary=self._diary, version=version, python=real, bare=int(bare), uv=int(uv_fails)))
        path.chmod(0o755)
        return path

    def start(self, *arguments: str, command: Path | None = None, **environ: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [command or self.checkout / "parley", *arguments],
            env={"PATH": str(self.bin), **environ},
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, command: Path | None = None, **environ: str) -> tuple[int, str]:
        with self.start(*arguments, command=command, **environ) as process:
            output, _ = process.communicate(timeout=30)
        return process.returncode, output

    def diary(self) -> list[str]:
        lines = self._diary.read_text().splitlines() if self._diary.exists() else []
        self._diary.unlink(missing_ok=True)
        return lines


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_no_python_at_all(machine: Machine) -> None:
    code, output = machine.run("up")
    assert code == 1
    assert "No Python found" in output
    assert "PARLEY_PYTHON" in output


@pytest.mark.promise("O14")
def test_python_that_is_too_old(machine: Machine) -> None:
    machine.add_python("python3", "3 9")
    code, output = machine.run("up")
    assert code == 1
    assert "Python 3.11 or later is needed, and python3 is 3.9" in output


@pytest.mark.promise("O14")
def test_python_without_venv_names_the_package(machine: Machine) -> None:
    machine.add_python("python3", "3 12", bare=True)
    code, output = machine.run("up")
    assert code == 1
    assert "without its venv module" in output
    assert "apt install python3.12-venv" in output


def test_chosen_python_that_does_not_run(machine: Machine) -> None:
    machine.add_python("python3", "3 12")
    code, output = machine.run("up", PARLEY_PYTHON="/no/such/python")
    assert code == 1
    assert "'/no/such/python', which does not run" in output


def test_chosen_python_that_is_too_old(machine: Machine) -> None:
    machine.add_python("python3", "3 12")
    old = machine.add_python("other", "3 10")
    code, output = machine.run("up", PARLEY_PYTHON=str(old))
    assert code == 1
    assert "is 3.10" in output


@pytest.mark.promise("O17")
def test_first_start_installs_and_second_only_starts(machine: Machine) -> None:
    machine.add_python("python3", "3 9")
    machine.add_python("python3.12", "3 12")
    code, output = machine.run("up", "--port", "8100")
    assert code == 0, output
    venv, got, synced, ran = machine.diary()
    assert (venv, got) == ("venv", "get uv")
    assert "--frozen --inexact --no-default-groups --group local" in synced
    assert ran == f"run {machine.checkout} up --port 8100"
    assert machine.run("up")[0] == 0
    assert machine.diary() == [f"run {machine.checkout} up"]


def test_changed_lock_installs_again(machine: Machine) -> None:
    machine.add_python("python3", "3 13")
    machine.run("up")
    machine.diary()
    (machine.checkout / "uv.lock").write_text("version = 2\n")
    machine.run("up")
    synced, ran = machine.diary()
    assert synced.startswith("uv -m uv sync")
    assert ran.endswith(" up")


def test_test_installs_what_tests_need_and_up_needs_no_more_then(machine: Machine) -> None:
    machine.add_python("python3", "3 13")
    machine.run("up")
    machine.diary()
    machine.run("test", "-q")
    synced, ran = machine.diary()
    assert "--group local --group test --group schemathesis --group lint" in synced
    assert ran.endswith(" test -q")
    machine.run("up")
    assert len(machine.diary()) == 1


@pytest.mark.promise("O17")
def test_two_first_starts_at_once_install_once(machine: Machine) -> None:
    machine.add_python("python3", "3 13")
    processes = [machine.start("up") for _ in range(2)]
    for process in processes:
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 0, output
    lines = machine.diary()
    assert lines.count("venv") == 1
    assert sum(line.startswith("uv") for line in lines) == 1
    assert sum(line.startswith("run") for line in lines) == 2


def test_pip_installs_where_uv_reaches_no_index(machine: Machine) -> None:
    machine.add_python("python3", "3 13", uv_fails=True)
    code, output = machine.run("up")
    assert code == 0, output
    assert any("--no-deps --require-hashes" in line for line in machine.diary())


def test_runs_through_a_symbolic_link(machine: Machine, tmp_path: Path) -> None:
    machine.add_python("python3", "3 13")
    (tmp_path / "first").symlink_to("check out/parley")
    (tmp_path / "second").symlink_to(tmp_path / "first")
    assert machine.run("logs", command=tmp_path / "second")[0] == 0
    assert machine.diary()[-1] == f"run {machine.checkout} logs"


def test_help_needs_no_installation(machine: Machine) -> None:
    machine.add_python("python3", "3 13")
    for arguments in ((), ("--help",), ("help",)):
        machine.run(*arguments)
        assert machine.diary() == [f"run {machine.checkout} --help"]


def test_newer_python_than_known_only_when_there_is_no_other(machine: Machine) -> None:
    machine.add_python("python3", "3 19", uv_fails=True)
    machine.add_python("python3.13", "3 13")
    machine.run("up")
    # The one that fails with uv would have left a trace of pip.
    assert not any(line.startswith("pip") for line in machine.diary())


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_checkout_that_cannot_be_written(machine: Machine) -> None:
    machine.add_python("python3", "3 13")
    machine.checkout.chmod(0o500)
    code, output = machine.run("up")
    machine.checkout.chmod(0o700)
    assert code == 1
    assert "cannot be written" in output
