"""What a comparison leaves behind: ratios against the goals, the figures behind them, notes; on screen and in docs."""

import datetime as dt
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness import LoadFailed, Sample, Subject
from benchmarks.processes import ROOT
from benchmarks.stats import Outcome, Spread

PAGE = ROOT / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Parley beside its peers, on the same machine and in the same minutes. Written by `./parley bench --write`; run it on
yours.

The subjects take turns (A B A B, every second round backwards), at least five rounds. A ratio compares the two sides of
one round; the tables show the median of the rounds with the extremes. The first figure is CPU time per operation, read
from `/proc` for all processes of the subject, because it does not depend on how much of the machine the load generator
takes. Each subject has one core to itself; load generator, upstream and databases share the others, the same for both
sides. The peers are in `benchmarks/peers/`.
"""


@dataclass
class Table:
    head: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)

    def markdown(self) -> str:
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def plain(self) -> str:
        widths = [max(len(row[column]) for row in [self.head, *self.rows]) for column in range(len(self.head))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in self.rows
        ]
        top = "  ".join(cell.ljust(width) for cell, width in zip(self.head, widths, strict=True)).rstrip()
        return "\n".join([top, "-" * min(160, sum(widths) + 2 * len(widths)), *lines])


@dataclass
class Part:
    """One comparison of a section that has several."""

    outcomes: list[Outcome] = field(default_factory=list)
    figures: list[tuple[str, Table]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def attempt(measure: Callable[..., Part], *given: Any) -> Part:
    """A comparison that fails says so in its place: half an hour of others must not go with it."""
    try:
        return measure(*given)
    except LoadFailed as error:
        print(error)
        return Part(notes=[f"Not measured: {measure.__module__.rpartition('.')[2]}. {error}"])


@dataclass
class Section:
    name: str
    title: str
    machine: str
    rounds: int
    outcomes: list[Outcome] = field(default_factory=list)
    figures: list[tuple[str, Table]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, parts: Iterable[Part]) -> "Section":
        for part in parts:
            self.outcomes += part.outcomes
            self.figures += part.figures
            self.notes += part.notes
        return self

    def goals(self) -> Table:
        table = Table(["goal", "compared", "wanted", "measured (median, min to max)", "reached"])
        for outcome in self.outcomes:
            goal = outcome.goal
            measured = f"{spread(outcome.ratios)}" if outcome.ratios else outcome.note
            table.rows.append([goal.name, goal.text, goal.bound, measured, outcome.verdict])
        return table

    def plain(self) -> str:
        parts = [f"\n{self.title}\n{self.machine}", self.goals().plain()]
        parts += [f"{caption}\n{table.plain()}" for caption, table in self.figures]
        parts += [f"* {note}" for note in self.notes]
        return "\n\n".join(parts)

    def markdown(self) -> str:
        today = dt.datetime.now(dt.UTC).date().isoformat()
        parts = [f"## {self.title}", f"{today}, {self.rounds} rounds. {self.machine}.", self.goals().markdown()]
        parts += [f"{caption}\n\n{table.markdown()}" for caption, table in self.figures]
        if self.notes:
            parts.append("\n".join(f"* {note}" for note in self.notes))
        return "\n\n".join(parts)


def spread(values: Sequence[float], digits: int = 2) -> str:
    if not values:
        return "-"
    found = Spread.of(values)
    if math.isnan(found.median):
        return "-"
    return f"{found.median:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def figures(subjects: Sequence[Subject], *, operation: str, parts: Sequence[str] = (), timed: bool = True) -> Table:
    """One row a subject: CPU time first (unless it means nothing here), then rate and latencies."""
    head = ["subject", *([f"CPU us/{operation}"] if timed else []), *(f"of it {part}" for part in parts)]
    table = Table([*head, f"{operation}/s", "p50 ms", "p99 ms", "errors"])
    for subject in subjects:
        row = [subject.name, *([spread(subject.all(Sample.micros), 1)] if timed else [])]
        row += [spread(subject.all(lambda sample, part=part: sample.micros(part)), 1) for part in parts]  # type: ignore[misc]
        row += [
            spread(subject.all(lambda sample: sample.rate), 0),
            spread(subject.all(lambda sample: sample.p50)),
            spread(subject.all(lambda sample: sample.p99)),
            f"{sum(sample.errors for sample in subject.samples):.0f}",
        ]
        table.rows.append(row)
    return table


def write(sections: Sequence[Section], page: Path = PAGE) -> None:
    """Replace the sections that were measured; the others stay as they were."""
    old = page.read_text() if page.exists() else ""
    kept = dict(re.findall(r"<!-- begin (\w+) -->\n(.*?)\n<!-- end \1 -->", old, re.DOTALL))
    kept |= {section.name: section.markdown() for section in sections}
    order = [name for name in ("gateway", "chat", "sockets", "auth", "notify", "slow", "soak") if name in kept]
    blocks = [f"<!-- begin {name} -->\n{kept[name]}\n<!-- end {name} -->" for name in order]
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n\n".join([HEAD.strip(), *blocks]) + "\n")
