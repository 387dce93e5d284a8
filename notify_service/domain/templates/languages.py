"""The languages in which we write: a file of words each, compiled at its first use."""

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
DEFAULT = "en"
TAGS = frozenset(path.stem for path in _WORDS.glob("*.toml"))


@dataclass(frozen=True, slots=True)
class Written:
    subject: Template
    text: Template
    html: Template


@dataclass(frozen=True, slots=True)
class Language:
    mails: Mapping[str, Written]
    texts: Mapping[str, Template]
    names: Mapping[str, str]
    """Of what auth names by a word, as a change of an account's factors."""


def of(tag: str | None) -> Language:
    """The language of a tag as `de-AT`: exactly that, or without its last parts, or English."""
    parts = str(tag or "").lower().replace("_", "-").split("-")[:4]
    candidates = ("-".join(parts[:length]) for length in range(len(parts), 0, -1))
    return _language(next((each for each in candidates if each in TAGS), DEFAULT))


def words(tag: str) -> dict[str, Any]:
    return tomllib.loads((_WORDS / f"{tag}.toml").read_text(encoding="utf-8"))


@cache
def _language(tag: str) -> Language:
    own = words(tag)
    return Language(
        mails={kind: _written(tag, own, kind) for kind in MAILS},
        texts={kind: paper.line(own[kind]["text"]) for kind in TEXTS},
        names=own["shared"]["names"],
    )


def _written(tag: str, own: Mapping[str, Any], kind: str) -> Written:
    shared, mail = own["shared"], own[kind]
    subject, body = mail["subject"], mail["text"].replace("@not_you", shared["not_you"])
    paragraphs = [shared["hello"], *(part.strip() for part in body.strip().split("\n\n"))]
    small = "" if kind in ASKED_FOR else shared["can_be_switched_off" if kind in SWITCHABLE else "security"]
    page = {"lang": tag, "dir": shared["dir"], "title": subject}
    return Written(
        subject=paper.line(subject),
        text=paper.text(paragraphs, with_code=shared["with_code"], small=small),
        html=paper.html(paragraphs, page=page, with_code=shared["with_code"], small=small),
    )
