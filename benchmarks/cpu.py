"""CPU time of whole process trees from /proc, and which cores they may use."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Stat:
    parent: int
    ticks: int


def parse_stat(line: str) -> Stat:
    """Own and reaped children's time, user and system. The name in parentheses may hold blanks and parentheses."""
    fields = line.rpartition(")")[2].split()
    return Stat(parent=int(fields[1]), ticks=sum(int(field) for field in fields[11:15]))


def processes() -> dict[int, Stat]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = parse_stat((entry / "stat").read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
    return found


def tree(roots: Iterable[int], table: dict[int, Stat]) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid, stat in table.items():
        children.setdefault(stat.parent, []).append(pid)
    seen: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in seen and pid in table:
            seen.add(pid)
            waiting += children.get(pid, [])
    return seen


def seconds(roots: Iterable[int]) -> float:
    """CPU seconds used so far below these processes. A child that ends is still counted: its parent has reaped it."""
    table = processes()
    return sum(table[pid].ticks for pid in tree(roots, table)) / TICKS


def resident(roots: Iterable[int]) -> int:
    """Bytes of memory that these processes and those below them hold, shared pages counted once."""
    total = 0
    for pid in tree(roots, processes()):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1024
    return total


def pin(roots: Iterable[int], cores: set[int]) -> None:
    """Move running processes, all their threads and children included; later children inherit it."""
    for pid in tree(roots, processes()):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            try:
                os.sched_setaffinity(int(thread.name), cores)
            except ProcessLookupError:
                continue  # it ended while we looked


@dataclass(frozen=True)
class Cores:
    """The subject has a core to itself; load generator, upstream and databases share the others."""

    subject: set[int]
    others: set[int]

    @classmethod
    def split(cls) -> "Cores":
        every = sorted(os.sched_getaffinity(0))
        return cls({every[0]}, set(every[1:]) or set(every))

    @classmethod
    def shared(cls) -> "Cores":
        every = os.sched_getaffinity(0)
        return cls(every, every)
