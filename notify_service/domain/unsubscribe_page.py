"""The page that says what its reader gets, and takes what they want: for any browser, without scripts.

The gateway puts its own headers in the place of ours, so the policy of the page stands in the page.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from notify_service.domain.preferences import ALL
from notify_service.domain.templates.languages import Language
from notify_service.domain.unsubscribe_links import Reader
from notify_service.domain.unsubscriptions import Choice, Switch

_PAGES = Path(__file__).with_name("pages")
_JINJA = ImmutableSandboxedEnvironment(
    loader=FileSystemLoader(_PAGES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
STYLE = (_PAGES / "style.css").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Box:
    """One to tick. `name` is what the form says."""

    name: str
    label: str
    is_on: bool
    is_fixed: bool


@dataclass(frozen=True, slots=True)
class Group:
    """What comes over one channel: whether anything does, and each category."""

    label: str
    boxes: Sequence[Box]


def choices(
    language: Language, reader: Reader, found: Sequence[Choice], changed: Mapping[Switch, bool] | None = None
) -> str:
    """`changed`: what was different before the reader's last change, and can be undone. None: there was none."""
    undo = changed or {}
    own = [each for each in found if each.switch in {(reader.channel, ALL), (reader.channel, reader.category)}]
    comes = all(each.is_on for each in own)
    standing: str = language.page["comes" if comes else "ended"]
    anything = [each for each in found if each.switch.category == ALL and each.is_on and not each.is_fixed]
    return _page(
        "choices.html",
        language,
        standing=standing.format(category=_category(language, reader.category), by=_by(language, reader.channel)),
        comes=comes,
        is_fixed=any(each.is_fixed for each in own),
        is_saved=changed is not None,
        undo=[(_name(switch), was_on) for switch, was_on in undo.items()],
        # Where the way back is to undo, one button is enough.
        again=[] if any(undo.get(each.switch) for each in own) else [(_name(each.switch), True) for each in own],
        nothing=[(_name(each.switch), False) for each in anything],
        groups=[_group(language, channel, group) for channel, group in groupby(found, key=_channel)],
    )


def lost(language: Language) -> str:
    """For a link that is none."""
    return _page("lost.html", language)


def switch_of(name: str) -> Switch:
    """What a form means by a name of the page; any other text means a switch that nobody has."""
    channel, _, category = name.partition(".")
    return Switch(channel, category)


def _name(switch: Switch) -> str:
    return f"{switch.channel}.{switch.category}"


def _page(name: str, language: Language, **values: Any) -> str:
    page = _JINJA.get_template(name)
    return page.render(lang=language.tag, dir=language.direction, words=language.page, **values)


def _channel(choice: Choice) -> str:
    return choice.switch.channel


def _group(language: Language, channel: str, found: Iterable[Choice]) -> Group:
    boxes = [Box(_name(each.switch), _label(language, each.switch), each.is_on, each.is_fixed) for each in found]
    label: str = language.page["anything"]
    return Group(label.format(by=_by(language, channel)), boxes)


def _label(language: Language, switch: Switch) -> str:
    at_all: str = language.page["at_all"]
    return at_all if switch.category == ALL else _category(language, switch.category)


def _category(language: Language, category: str) -> str:
    known: Mapping[str, str] = language.page["categories"]
    return known.get(category, category.replace("_", " "))


def _by(language: Language, channel: str) -> str:
    known: Mapping[str, str] = language.page["by"]
    return known.get(channel, f"({channel})")
