"""Values of declared variables, as their readers write them: `1234.5` is `1.234,50 €` to one who reads German.

It is done once, when a message is accepted or its campaign begins. From then on they are texts like all others.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from libs.errors import FieldError
from notify_service.domain.content import NO_ADDRESS, UNSUBSCRIBE_URL, Content
from notify_service.domain.quiet import zone_of
from notify_service.domain.templates import languages
from notify_service.domain.throttles import COUNT
from notify_service.domain.variables import Kind, Moment, Money, Number, Value

WRONG = "wrong_variables"
"""Why nothing is sent to somebody whose values are of other types."""
_OURS = frozenset({UNSUBSCRIBE_URL, COUNT})
_SYMBOLS = {"EUR": "€", "GBP": "£"}
Contents = Iterable[tuple[str, Content]]
"""With their paths."""


@dataclass(frozen=True, slots=True)
class Wording:
    """Of the variables that these contents declare together. `language`: of readers whose own nobody knows."""

    kinds: Mapping[str, Any] = field(default_factory=dict)
    language: str | None = None

    def wrong(self, values: Mapping[str, str]) -> dict[str, str]:
        """Names of those that are of other types, each with a sentence that says what is expected."""
        return dict(self._wrong(values))

    def of(self, values: Mapping[str, str], language: str | None = None, zone: str | None = None) -> dict[str, str]:
        """All values, the declared ones in words. `language` and `zone`: the reader's own, where they are known. Raises
        ValueError for a value that is wrong."""
        words = languages.values_of(language or self.language)
        return {name: self._said(name, value, words, zone) for name, value in values.items()}

    def _wrong(self, values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        for name, kind in self.kinds.items():
            if name in values:
                try:
                    kind.read(values[name])
                except ValueError as error:
                    yield name, str(error)

    def _said(self, name: str, value: str, words: Mapping[str, Any], zone: str | None) -> str:
        kind = self.kinds.get(name)
        return value if kind is None else _shown(kind, kind.read(value), words, zone)


def of(contents: Iterable[Content]) -> Wording:
    """The first of them says the language."""
    every = list(contents)
    kinds = {name: kind for content in every for name, kind in content.variables.items()}
    return Wording(kinds, every[0].language) if every else Wording()


def problems(contents: Contents) -> Iterator[FieldError]:
    """What is wrong with the declarations themselves."""
    known: dict[str, Kind] = {}
    for index, (path, content) in enumerate(contents):
        if index and content.language is not None:
            yield FieldError(f"{path}.language", "The first content says the language.")
        yield from (FieldError(f"{path}.{place}", NO_ADDRESS) for place in content.false_links())
        used = content.placeholders() if content.variables else frozenset()
        for name, kind in content.variables.items():
            refusal = None
            if name in _OURS:
                refusal = "This is filled by us."
            elif name not in used:
                refusal = "No placeholder of this content is called so."
            elif known.setdefault(name, kind) != kind:
                refusal = "A content before this one declares it otherwise."
            if refusal:
                yield FieldError(f"{path}.variables.{name}", refusal)


def _shown(kind: Kind, value: Value, words: Mapping[str, Any], zone: str | None) -> str:
    if isinstance(value, Decimal):
        return _amount(kind, value, words)
    if isinstance(value, bool):
        said: str = words["yes" if value else "no"]
        return said
    if isinstance(value, datetime):
        local = value.astimezone(zone_of(zone or _zone_of(kind)))
        # Who reads the time of another place is told which.
        clock = _clock(local.time().replace(second=0), words) + ("" if zone else f" {local:%Z}")
        text: str = words["datetime"].format(date=_day(local, words), time=clock)
        return text
    if isinstance(value, time):
        return _clock(value, words)
    return _day(value, words) if isinstance(value, date) else value


def _amount(kind: Kind, value: Decimal, words: Mapping[str, Any]) -> str:
    places = kind.decimals if isinstance(kind, Money | Number) else None
    if places is not None:
        value = value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    return _money(kind.currency, value, words) if isinstance(kind, Money) else _digits(value, words)


def _money(currency: str, value: Decimal, words: Mapping[str, Any]) -> str:
    symbol = words.get("symbols", {}).get(currency) or _SYMBOLS.get(currency)
    # Three letters do not touch the digits.
    pattern: str = words["money"] if symbol else words["money"].replace("}{", "} {")
    amount = _digits(abs(value), {**words, **words.get("in_money", {})})
    said = pattern.format(amount=amount, currency=symbol or currency)
    return f"-{said}" if value < 0 else said


def _digits(value: Decimal, words: Mapping[str, Any]) -> str:
    return f"{value:,f}".translate({ord(","): words["group"], ord("."): words["decimal"]})


def _day(day: date, words: Mapping[str, Any]) -> str:
    text: str = words["date"].format(day=day.day, month=words["months"][day.month - 1], year=day.year)
    return text


def _clock(clock: time, words: Mapping[str, Any]) -> str:
    """Seconds are shown where there are any."""
    pattern: str = words["seconds" if clock.second else "time"]
    half = words.get("halves", ("", ""))[clock.hour // 12]
    return pattern.format(
        hour=clock.hour, hour12=clock.hour % 12 or 12, minute=clock.minute, second=clock.second, half=half
    )


def _zone_of(kind: Kind) -> str:
    return kind.timezone if isinstance(kind, Moment) else "UTC"
