"""The arithmetic of a comparison. Rounds are compared pair by pair, so that a slow minute hurts both sides alike."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Spread:
    """A median with its extremes."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(median(values), min(values), max(values))


def percentile(values: Sequence[float], fraction: float) -> float:
    """Nearest rank: always a value that was really measured."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]


def pair_ratios(subject: Sequence[float], base: Sequence[float]) -> list[float]:
    """One ratio a round; a round in which either side has no figure is left out."""
    return [s / b for s, b in zip(subject, base, strict=True) if b > 0 and not math.isnan(s) and not math.isnan(b)]


@dataclass(frozen=True)
class Goal:
    """A bound for a ratio, from above (`most`) or from below (`least`)."""

    name: str
    text: str
    most: float | None = None
    least: float | None = None

    @property
    def bound(self) -> str:
        return f"<= {self.most:.3g}" if self.most is not None else f">= {self.least:.3g}"

    def reached(self, value: float) -> bool:
        if self.most is not None:
            return value <= self.most
        return self.least is not None and value >= self.least


@dataclass(frozen=True)
class Outcome:
    """What became of a goal. Without ratios it was not measured, and the note says why."""

    goal: Goal
    ratios: Sequence[float] = ()
    note: str = ""

    @property
    def verdict(self) -> str:
        if not self.ratios:
            return "not measured"
        return "yes" if self.goal.reached(median(self.ratios)) else "no"


def same_distribution(one: Sequence[float], other: Sequence[float]) -> float:
    """The p-value of the two-sample Kolmogorov-Smirnov test: how likely two samples of one distribution differ so."""
    first, second = sorted(one), sorted(other)
    distance = max(
        abs(bisect_right(first, value) / len(first) - bisect_right(second, value) / len(second))
        for value in (*first, *second)
    )
    size = math.sqrt(len(first) * len(second) / (len(first) + len(second)))
    x = (size + 0.12 + 0.11 / size) * distance
    if x < 0.2:
        return 1.0
    return max(0.0, min(1.0, 2 * sum((-1.0) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 101))))
