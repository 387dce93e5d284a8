"""The project stands alone: its locks name public registries only, and nothing speaks of one machine."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

TRACKED = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False).stdout.decode()
FILES = [ROOT / name for name in TRACKED.split("\0") if name] or [p for p in ROOT.rglob("*") if ".venv" not in p.parts]


@pytest.mark.parametrize("lock", [p for p in FILES if p.name == "uv.lock"], ids=lambda p: str(p.relative_to(ROOT)))
def test_locks_name_public_registries_only(lock: Path) -> None:
    text = lock.read_text()
    assert set(re.findall(r"https?://([^/\"]+)", text)) <= {"pypi.org", "files.pythonhosted.org"}
    assert "file://" not in text
    assert re.search(r"source = \{ (?!registry|virtual)", text) is None


def test_the_lock_agrees_with_the_project() -> None:
    done = subprocess.run(
        [ROOT / ".venv/bin/uv", "lock", "--check", "--offline", "--quiet"], cwd=ROOT, capture_output=True, check=False
    )
    if b"offline" in done.stderr or b"network" in done.stderr:
        pytest.skip("the resolver needs package data that is not cached here")
    assert done.returncode == 0, done.stderr.decode()


def test_no_file_speaks_of_a_machine() -> None:
    local = re.compile(r"/(?:home/[a-z]+|work|Users)/[a-z.]")
    for path in FILES:
        if (
            path.suffix in (".py", ".md", ".toml", ".yml", ".yaml", ".ini", "")
            and path.is_file()
            and path != Path(__file__)
        ):
            assert local.search(path.read_text(errors="replace")) is None, path
