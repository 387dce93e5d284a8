"""Rounds: every subject in turn, again and again, so that whatever else the machine does hits all of them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import cpu
from benchmarks.processes import ROOT


@dataclass(frozen=True)
class Options:
    rounds: int = 5
    quick: bool = False
    max_load: float | None = None
    only: Sequence[str] = ()
    """Parts of a comparison, by name; none: all of them."""

    @property
    def seconds(self) -> float:
        return 2.0 if self.quick else 5.0


class LoadFailed(Exception):
    """There is no result that could be compared."""


@dataclass
class Sample:
    """One measurement of one subject. `cpu` is in seconds by part ("service", "databases"), latencies in ms."""

    operations: float
    wall: float
    cpu: dict[str, float] = field(default_factory=dict)
    p50: float = float("nan")
    p99: float = float("nan")
    errors: float = 0
    extra: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, answer: Mapping[str, float], used: dict[str, float]) -> "Sample":
        """What a load generator says at its end."""
        return cls(
            operations=answer["operations"],
            wall=answer["wall"],
            cpu=used,
            p50=answer["p50"],
            p99=answer["p99"],
            errors=answer["errors"],
        )

    @property
    def rate(self) -> float:
        return self.operations / self.wall if self.wall else float("nan")

    def checked(self, name: str) -> "Sample":
        """Silence and refusals are fast: a subject that gives them must not win."""
        if self.operations == 0 or self.errors > self.operations / 10:
            raise LoadFailed(
                f"{name}: {self.operations:.0f} good answers, {self.errors:.0f} bad or missing; see its log"
            )
        return self

    def micros(self, *parts: str) -> float:
        """CPU microseconds an operation, of these parts or of all."""
        if not self.operations:
            return float("nan")
        return sum(self.cpu.get(part, 0.0) for part in parts or self.cpu) / self.operations * 1e6


@dataclass
class Subject:
    name: str
    measure: Callable[[], Sample]
    samples: list[Sample] = field(default_factory=list)

    def all(self, figure: Callable[[Sample], float]) -> list[float]:
        return [figure(sample) for sample in self.samples]


def alternate(subjects: Sequence[Subject], options: Options, say: Callable[[str], None] = print) -> None:
    """Every second round runs backwards, so that a machine that slows down does not always hurt the same subject."""
    for number in range(options.rounds):
        taken = []
        for subject in subjects if number % 2 == 0 else reversed(subjects):
            sample = subject.measure()
            taken.append((subject, sample))
            say(
                f"  round {number + 1}/{options.rounds}  {subject.name:<34} {sample.micros():9.1f} us CPU"
                f" {sample.rate:10.1f}/s  p50 {sample.p50:7.2f} ms  p99 {sample.p99:7.2f} ms  {sample.errors:.0f} lost"
            )
        load = os.getloadavg()[0]
        if options.max_load is not None and load > options.max_load:
            say(f"  round {number + 1} dropped: load average {load:.1f} is above {options.max_load}")
            continue
        for subject, sample in taken:
            subject.samples.append(sample)


def run_load(
    module: str,
    plan: Mapping[str, Any],
    *,
    cores: set[int],
    parts: Mapping[str, Sequence[int]],
    on_begin: Callable[[], None] = lambda: None,
    on_mark: Callable[[str], None] = lambda _mark: None,
    itself: bool = False,
    python: str | Path = sys.executable,
    cwd: Path = ROOT,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Run a load generator. It says when it has warmed up, so that CPU time is read exactly around its measurement.

    `on_mark` hears of everything else that it says on its way.
    `itself`: the program is the subject, and its own CPU time is what counts as the service's.
    """
    process = subprocess.Popen(
        [python, "-m", module],
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509 - the harness has no threads
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(plan))
    process.stdin.close()
    if itself:
        parts = {**parts, "service": [process.pid]}
    before: dict[str, float] = {}
    for mark, answer in marks(process.stdout):
        now = {name: cpu.seconds(pids) for name, pids in parts.items()}
        if mark == "begin":
            before = now
            on_begin()
        elif mark != "end":
            on_mark(mark)
        else:
            process.stdout.close()
            process.wait()
            return answer, {name: now[name] - before[name] for name in now}
    raise LoadFailed(f"{module} ended with {process.wait()} and no result")


def marks(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in lines:
        answer = json.loads(line)
        yield answer.pop("mark"), answer
