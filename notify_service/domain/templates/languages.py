"""The languages in which we write: a file of words each, compiled at its first use."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Template

from notify_service.domain.templates import paper
from notify_service.domain.templates.kinds import ASKED_FOR, MAILS, SWITCHABLE, TEXTS

_WORDS = Path(__file__).with_name("words")
_WEIGHT = re.compile(r"q=([01](?:\.\d{0,3})?)")
# As `AT`, or `419`, behind the language and perhaps a script.
_REGION = re.compile(r"[a-z]{2,3}[_-](?:[a-z]{4}[_-])?([a-z]{2}|[0-9]{3})(?:[_-]|$)", re.IGNORECASE)
_MOST_ASKED = 20
DEFAULT = "en"
TAGS = frozenset(path.stem for path in _WORDS.glob("*.toml"))


@dataclass(frozen=True, slots=True)
class Written:
    subject: Template
    text: Template
    html: Template


@dataclass(frozen=True, slots=True)
class Language:
    tag: str
    direction: str
    mails: Mapping[str, Written]
    texts: Mapping[str, Template]
    names: Mapping[str, str]
    """Of what auth names by a word, as a change of an account's factors."""
    page: Mapping[str, Any]
    """Of the page on which readers say what they want."""
    values: Mapping[str, Any]
    """How numbers, dates and times are written."""
    regions: Mapping[str, Mapping[str, Any]]
    """The same of regions that write something of it otherwise."""


def of(tag: str | None) -> Language:
    """The language of a tag as `de-AT`: exactly that, or without its last parts, or English."""
    return _language(_nearest(str(tag or "")) or DEFAULT)


def values_of(tag: str | None) -> Mapping[str, Any]:
    """How values are written in the region of a tag, or else in its language as `of` finds it."""
    found, language = _REGION.match(str(tag or "")), of(tag)
    return language.regions.get(found[1].upper(), language.values) if found else language.values


def liked(header: str) -> Language:
    """The one that a browser likes best (`Accept-Language`: RFC 9110, 12.5.4), of those that we have, or English."""
    asked = [_weighed(part) for part in header.split(",")[:_MOST_ASKED]]
    best = sorted(asked, key=lambda each: -each[0])
    return _language(next((found for weight, tag in best if weight > 0 and (found := _nearest(tag))), DEFAULT))


def words(tag: str) -> dict[str, Any]:
    return tomllib.loads((_WORDS / f"{tag}.toml").read_text(encoding="utf-8"))


def _nearest(tag: str) -> str | None:
    parts = tag.lower().replace("_", "-").split("-")[:4]
    candidates = ("-".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((each for each in candidates if each in TAGS), None)


def _weighed(part: str) -> tuple[float, str]:
    tag, _, weight = part.partition(";")
    found = _WEIGHT.fullmatch(weight.strip())
    return float(found[1]) if found else 1.0 if not weight else 0.0, tag.strip()


@cache
def _language(tag: str) -> Language:
    own = words(tag)
    values = own["shared"]["values"]
    return Language(
        tag=tag,
        direction=own["shared"]["dir"],
        mails={kind: _written(tag, own, kind) for kind in MAILS},
        texts={kind: paper.line(own[kind]["text"]) for kind in TEXTS},
        names=own["shared"]["names"],
        page=own["shared"]["page"],
        values=values,
        regions={name: {**values, **other} for name, other in own["shared"]["regions"].items()},
    )


def _written(tag: str, own: Mapping[str, Any], kind: str) -> Written:
    shared, mail = own["shared"], own[kind]
    subject, body = mail["subject"], mail["text"].replace("@not_you", shared["not_you"])
    paragraphs = [shared["hello"], *(part.strip() for part in body.strip().split("\n\n"))]
    small = "" if kind in ASKED_FOR else shared["can_be_switched_off" if kind in SWITCHABLE else "security"]
    page = {"lang": tag, "dir": shared["dir"], "title": subject}
    common = {"with_code": shared["with_code"], "small": small, "stop": shared["page"]["stop"]}
    return Written(
        subject=paper.line(subject),
        text=paper.text(paragraphs, **common),
        html=paper.html(paragraphs, page=page, **common),
    )
