"""What a digest says of its messages. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from notify_service.domain.adaptation import cut, text_of
from notify_service.domain.categories import COUNT, ITEMS, SUBJECT
from notify_service.domain.content import UNSUBSCRIBE_URL, Content

_ITEMS = Content(text="{{items}}")
# What no text holds: a line with it is left out, for there is one way out of a digest, and that is its own.
_WAY_OUT = "\0"
_MAX_ITEM = 500
_MAX_EXCERPT = 160
_MAX_LISTING = 10_000


def is_words(content: Content) -> bool:
    """Whether nothing of it is lost when its words stand among others."""
    more = (content.media, content.buttons, content.choices, content.template, content.reaction, content.reply_to)
    return not any(more) and bool(content.text or content.html)


def message_of(
    wanted: Content | None, said: Sequence[tuple[Content, Mapping[str, str]]], count: int, *, titled: bool
) -> tuple[Content, dict[str, str]]:
    """A digest and what fills it: of `count` messages these, each with its variables. `titled`: it takes over the
    subject that they have, for the channel may need one."""
    contents = [content.filled(defaultdict(str, {**values, UNSUBSCRIBE_URL: _WAY_OUT})) for content, values in said]
    items = [_item(content) for content in contents]
    if count > len(items):
        items.append(f"+{count - len(items)}")
    subject = next((content.subject for content in contents if content.subject), "")
    values = {COUNT: str(count), ITEMS: "\n\n".join(items), SUBJECT: f"{subject} (+{count - 1})".lstrip()}
    content = wanted or _ITEMS
    if titled and content.subject is None and subject:
        content = content.model_copy(update={"subject": "{{subject}}"})
    return content, values


def letter_of(told: Sequence[Mapping[str, Any]], count: int) -> dict[str, Any]:
    """The variables of our own mail about messages of chat: in the name and the language that the last of them has."""
    newest = told[-1]
    listing = "\n\n".join(_conversation(name, list(group)) for name, group in groupby(_sorted(told), _where))
    return {
        "name": newest.get("name", ""),
        "language": newest.get("language"),
        "count": count,
        "more": count - len(told),
        "listing": cut(listing, _MAX_LISTING),
    }


def _item(content: Content) -> str:
    lines = (content.text or text_of(content.html or "")).split("\n")
    words = "\n".join(line for line in lines if _WAY_OUT not in line).rstrip()
    return cut(f"{content.subject}\n{words}" if content.subject else words, _MAX_ITEM)


def _where(told: Mapping[str, Any]) -> str:
    """The group, or who has written to the reader alone."""
    return str(told.get("conversation") or told.get("sender") or "")


def _sorted(told: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """By conversation, in the order of their first messages."""
    places: dict[str, int] = {}
    for each in told:
        places.setdefault(_where(each), len(places))
    return sorted(told, key=lambda each: places[_where(each)])


def _conversation(name: str, told: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join([name, *map(_line, told)])


def _line(told: Mapping[str, Any]) -> str:
    words = cut(" ".join(str(told.get("excerpt") or "").split()), _MAX_EXCERPT)
    return f"{told.get('sender')}: {words}" if told.get("conversation") else words
