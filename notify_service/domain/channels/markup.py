"""Formatted text as chats know it: HTML, read into runs of characters of one style, which each of them writes in its
own way. Only what a chat can show is read; everything else becomes its words."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from html.parser import HTMLParser

from notify_service.domain.adaptation import Reach, characters, spans

BOLD, ITALIC, UNDERLINE, STRIKE, SPOILER, CODE, PRE, QUOTE = "b", "i", "u", "s", "spoiler", "code", "pre", "quote"
_STYLES = {
    "b": BOLD, "strong": BOLD, "h1": BOLD, "h2": BOLD, "h3": BOLD, "h4": BOLD, "h5": BOLD, "h6": BOLD, "th": BOLD,
    "i": ITALIC, "em": ITALIC, "cite": ITALIC, "u": UNDERLINE, "ins": UNDERLINE, "s": STRIKE, "strike": STRIKE,
    "del": STRIKE, "tg-spoiler": SPOILER, "code": CODE, "kbd": CODE, "samp": CODE, "pre": PRE, "blockquote": QUOTE,
}  # fmt: skip
# How many ends of lines a block has before and after it.
_BLOCKS = dict.fromkeys(("p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "ul", "ol", "table"), 2)
_BLOCKS |= dict.fromkeys(("div", "li", "tr", "section", "article", "header", "footer", "hr"), 1)
_VOID = frozenset({"br", "hr", "img", "input", "link", "meta", "wbr"})
_UNSEEN = frozenset({"script", "style", "head", "title", "template"})
_LONGEST_LINK = 1000
_ADDRESSES = re.compile(r"(https?://[^\s<>]+)")
_BLANKS = re.compile(r"[ \t\r\n\f]+")


@dataclass(frozen=True, slots=True)
class Run:
    text: str
    styles: frozenset[str] = frozenset()
    link: str | None = None


def read(markup: str) -> list[Run]:
    """What a reader sees of HTML, and how it looks."""
    reader = _Reader()
    reader.feed(markup)
    reader.close()
    return reader.runs


def pieces(runs: Sequence[Run], most: int, reach: Reach = characters) -> list[list[Run]]:
    """In pieces of at most `most` units that are seen; each keeps its styles."""
    return [_between(runs, *span) for span in spans("".join(run.text for run in runs), most, reach)]


def _between(runs: Iterable[Run], start: int, end: int) -> list[Run]:
    found, at = [], 0
    for run in runs:
        text = run.text[max(start - at, 0) : max(end - at, 0)]
        if text:
            found.append(replace(run, text=text))
        at += len(run.text)
    return found


def with_addresses(text: str) -> Iterator[tuple[str, bool]]:
    """A plain text in parts, and of each whether it is an address."""
    return ((part, place % 2 == 1) for place, part in enumerate(_ADDRESSES.split(text)) if part)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.runs: list[Run] = []
        self._open: list[tuple[str, str | None, str | None]] = []
        self._breaks = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._breaks = max(self._breaks, _BLOCKS.get(tag, 0))
        if tag == "br":
            self._breaks += 1
        elif tag == "li":
            self._add("\u2022 ")
        elif tag in ("td", "th"):
            self._add(" ")
        if tag not in _VOID:
            self._open.append((tag, _STYLES.get(tag), _address(dict(attrs)) if tag == "a" else None))

    def handle_endtag(self, tag: str) -> None:
        self._breaks = max(self._breaks, _BLOCKS.get(tag, 0))
        places = [place for place, (name, *_) in enumerate(self._open) if name == tag]
        if places:
            del self._open[places[-1] :]

    def handle_data(self, data: str) -> None:
        if any(tag in _UNSEEN for tag, *_ in self._open):
            return
        kept = any(tag == "pre" for tag, *_ in self._open)
        self._add(data.rstrip() if kept else _BLANKS.sub(" ", data))

    def _add(self, text: str) -> None:
        last = self.runs[-1].text[-1] if self.runs else "\n"
        if (self._breaks or last.isspace()) and not any(tag == "pre" for tag, *_ in self._open):
            text = text.lstrip(" ")
        if not text:
            return
        styles = frozenset(style for _, style, _ in self._open if style)
        if styles & {CODE, PRE}:
            # Neither shows any other style inside it.
            styles = frozenset({PRE}) if PRE in styles else styles & {CODE, QUOTE}
        self._end_lines(styles)
        link = next((link for _, _, link in reversed(self._open) if link), None)
        self.runs.append(Run(text, styles, None if styles & {CODE, PRE} else link))

    def _end_lines(self, styles: frozenset[str]) -> None:
        if self.runs and self._breaks:
            last = self.runs[-1]
            self.runs[-1] = replace(last, text=last.text.rstrip(" "))
            self.runs.append(Run("\n" * min(self._breaks, 2), last.styles & styles))
        self._breaks = 0


def _address(attributes: dict[str, str | None]) -> str | None:
    """One that fits into any message."""
    address = (attributes.get("href") or "").strip()
    return address if address.startswith(("https://", "http://")) and len(address) <= _LONGEST_LINK else None
