"""The logs of all processes as one stream for people: a colour a process, JSON as readable lines, in order of time."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TextIO

from deploy.local.errors import LocalError

_COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94, 31)
_POLL_SECONDS = 0.1
_TAIL_BYTES = 256 << 10
_LEVELS = {"warning": 33, "error": 31, "critical": 31}
_TEXT_FORMS = ("%Y-%m-%d %H:%M:%S.%f", "%d %b %Y %H:%M:%S.%f")


class Painter:
    """Writes `name | line`, coloured on a terminal unless NO_COLOR is set."""

    def __init__(self, names: Iterable[str], out: TextIO | None = None) -> None:
        names = list(names)
        self._out = out or sys.stdout
        self._colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(names)}
        self._width = max(map(len, names), default=0)
        self._on = self._out.isatty() and "NO_COLOR" not in os.environ

    def write(self, name: str, line: str) -> None:
        self._out.write(
            f"{self._paint(name.ljust(self._width), self._colours.get(name, 0))} | {readable(line, self._paint)}\n"
        )
        self._out.flush()

    def _paint(self, text: str, colour: int) -> str:
        return f"\033[{colour}m{text}\033[0m" if self._on and colour else text


def readable(line: str, paint: Callable[[str, int], str] = lambda text, _: text) -> str:
    """An entry of our JSON logs as a line for people, a traceback below it; other lines as they are."""
    entry = _parsed(line)
    if entry is None:
        return line
    when, level = str(entry.pop("timestamp", "")), str(entry.pop("level", ""))
    event, trace = entry.pop("event", ""), entry.pop("exception", "")
    entry.pop("service", None)
    rest = " ".join(f"{key}={value}" for key, value in entry.items())
    text = f"{when[11:23]} {paint(level.ljust(7), _LEVELS.get(level, 0))} {event} {rest}".rstrip()
    return f"{text}\n{trace}" if trace else text


class Follower:
    """Reads what is added to log files, in whole lines."""

    def __init__(self, folder: Path, only: str | None, write: Callable[[str, str], None]) -> None:
        self._folder = folder
        self._only = only
        self._write = write
        self._places = {path: path.stat().st_size for path in self._files()}

    async def run(self) -> None:
        while True:
            self.read()
            await asyncio.sleep(_POLL_SECONDS)

    def read(self) -> None:
        for path in self._files():
            place = self._places.get(path, 0)
            size = path.stat().st_size
            if size < place:
                # It was rotated; this is a new file.
                place = 0
            if size > place:
                self._places[path] = place + self._read_lines(path, place)

    def _read_lines(self, path: Path, place: int) -> int:
        with path.open("rb") as file:
            file.seek(place)
            whole, newline, _ = file.read().rpartition(b"\n")
        for line in whole.decode(errors="replace").splitlines():
            self._write(path.stem, line)
        return len(whole) + len(newline)

    def _files(self) -> list[Path]:
        return files(self._folder, self._only)


def files(folder: Path, only: str | None = None) -> list[Path]:
    found = [path for path in sorted(folder.glob("*.log")) if not path.name.endswith(".old.log")]
    return [path for path in found if only is None or path.stem == only]


def show(folder: Path, *, only: str | None, lines: int, follow: bool) -> None:
    found = files(folder, only)
    if not found:
        names = ", ".join(path.stem for path in files(folder))
        raise LocalError(f"There is no log of {only or 'anything'} yet." + (f" There are: {names}" if names else ""))
    painter = Painter(path.stem for path in found)
    follower = Follower(folder, only, painter.write)
    for name, line in _last_lines(found, lines):
        painter.write(name, line)
    if follow:
        asyncio.run(follower.run())


def complaints(folder: Path, count: int = 200) -> list[str]:
    """The last warnings and errors of all in order of time, each as one line, and what is no entry of ours."""
    kept: list[str] = []
    for name, line in _last_lines(files(folder), 100 * count):
        entry = _parsed(line)
        if entry is None or entry.get("level") in _LEVELS:
            first, *trace = readable(line).splitlines() or [""]
            kept.append(f"{name} | {first} {trace[-1] if trace else ''}".rstrip())
    return kept[-count:]


def _last_lines(found: list[Path], count: int) -> list[tuple[str, str]]:
    stamped = [(when, path.stem, line) for path in found for when, line in _stamped(path)]
    # Stable: lines of one file keep their order even where the clock does not.
    stamped.sort(key=lambda entry: entry[0])
    return [(name, line) for _, name, line in stamped[-count:]]


def _stamped(path: Path) -> Iterator[tuple[str, str]]:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        text = file.read().decode(errors="replace")
    last = ""
    for line in text.splitlines():
        # A line without a time, as those of a traceback, belongs to the one before.
        last = time_of(line) or last
        yield last, line


def time_of(line: str) -> str | None:
    """ISO time of a line of ours, of PostgreSQL's or of Valkey's, to be compared as text."""
    entry = _parsed(line)
    if entry is not None:
        return str(entry.get("timestamp", ""))[:23] or None
    words = line.split()
    # `2026-11-20 14:04:29.123 UTC ...` and `812:M 20 Nov 2026 14:04:29.123 * ...`
    for text, form in zip((" ".join(words[:2]), " ".join(words[1:5])), _TEXT_FORMS, strict=True):
        try:
            return datetime.strptime(text, form).isoformat(timespec="milliseconds")  # noqa: DTZ007 - all are UTC
        except ValueError:
            continue
    return None


def _parsed(line: str) -> dict[str, object] | None:
    if not line.startswith("{"):
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and "event" in entry else None
