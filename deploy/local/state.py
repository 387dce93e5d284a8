"""The folder that outlives a run: data, keys, passwords, logs, and who is running now."""

import asyncio
import base64
import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from deploy.local.binaries import CHECKOUT, outside_checkout
from deploy.local.errors import StateInUse

# An earlier run that was killed stops its servers within a second or two; a service may take its whole grace.
_LEAVING_SECONDS = 30


class State:
    """`PARLEY_STATE` names another folder; a second stack beside the first needs one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.keys = folder / "keys.json"
        self.countries = folder / "country.mmdb"
        self._running = folder / "running.json"

    @classmethod
    def of_checkout(cls) -> "State":
        chosen = os.environ.get("PARLEY_STATE")
        if chosen:
            return cls(Path(chosen).absolute())
        return cls(outside_checkout() if os.geteuid() == 0 else CHECKOUT / ".parley")

    def make(self) -> None:
        # Root's servers run as `nobody` and go through it; what is secret in it has its own rights.
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755 if os.geteuid() == 0 else 0o700)
        self.logs.mkdir(mode=0o700, exist_ok=True)

    def secrets(self) -> dict[str, str]:
        """Made at the first start and kept: data that was encrypted with them lies beside them."""
        path = self.folder / "secrets.json"
        found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        made = {name: secrets.token_urlsafe(24) for name in ("postgres", "valkey", "smtp", "sms")}
        made |= {"field_keys": f"local1:{_new_key()}", "refresh_keys": f"0:{_new_key()}"}
        if made.keys() - found.keys():
            found = {**made, **found}
            _write_private(path, json.dumps(found, indent=1))
        return found

    @asynccontextmanager
    async def held(self) -> AsyncIterator[int]:
        """Nobody else runs on this folder inside the block. Gives a descriptor for the supervisors to keep open.

        Two locks: one is the launcher's alone and is gone with it; the other lives until its last supervisor has
        ended, so that a start right after a `kill -9` waits for the old servers instead of stumbling over them.
        """
        self.make()
        with _lock_file(self.folder / "launcher.lock") as launcher, _lock_file(self.folder / "family.lock") as family:
            if not _take(launcher):
                raise StateInUse(self._who_runs())
            for _ in range(_LEAVING_SECONDS * 10):
                if _take(family):
                    break
                await asyncio.sleep(0.1)
            else:
                raise StateInUse(f"Programs of an earlier run on {self.folder} do not end.")
            try:
                yield family
            finally:
                self._running.unlink(missing_ok=True)

    @property
    def in_use(self) -> bool:
        if not self.folder.exists():
            return False
        with _lock_file(self.folder / "launcher.lock") as launcher:
            return not _take(launcher)

    def tell(self, running: Mapping[str, Any]) -> None:
        """What `./parley auth ...` and a second `./parley up` need to know of this run."""
        _write_private(self._running, json.dumps({"pid": os.getpid(), **running}))

    def told(self) -> dict[str, Any] | None:
        """What the launcher that runs now told; None when none runs."""
        if not self.in_use:
            return None
        try:
            found: dict[str, Any] = json.loads(self._running.read_text())
        except FileNotFoundError:
            return None
        return found

    def remove(self) -> None:
        shutil.rmtree(self.folder)

    def _who_runs(self) -> str:
        running = self.told() or {}
        where = f" at {running['url']}" if "url" in running else ""
        who = f" (process {running['pid']})" if "pid" in running else ""
        return (
            f"Parley already runs on {self.folder}{where}{who}. Stop it first (Ctrl-C in its terminal),"
            " or give this one a folder and a port of its own: PARLEY_STATE=/another/folder ./parley up --port 8100"
        )


@contextlib.contextmanager
def _lock_file(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)


def _take(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _new_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")


def _write_private(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600, exist_ok=False)
    unfinished.write_text(text)
    unfinished.replace(path)
