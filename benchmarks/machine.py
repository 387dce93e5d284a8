"""What the figures were measured on: cores, processor and versions. Never a host name or a path."""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from deploy.local import binaries


def processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except FileNotFoundError:
        found = None
    return found.group(1).strip() if found else platform.machine()


def version_of(program: str | Path, *arguments: str) -> str | None:
    """The first thing in the program's version text that looks like a version."""
    path = shutil.which(program)
    if path is None:
        return None
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+(\.\d+)*", done.stdout + done.stderr)
    return found.group(0) if found else None


def valkey() -> Path:
    return binaries.valkey().path


def describe(**versions: str | None) -> str:
    """One line: `2 cores, AMD EPYC, Python 3.11.7, nginx 1.22.1`."""
    known = [f"{name} {version}" for name, version in versions.items() if version]
    cores = len(os.sched_getaffinity(0))
    return ", ".join([f"{cores} cores", processor(), f"Python {platform.python_version()}", *known])
