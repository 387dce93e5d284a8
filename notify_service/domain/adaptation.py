"""Making a content fit a channel. Pure, and the same every time."""

import html
import re
from collections.abc import Callable, Iterator, Sequence

from libs.errors import FieldError
from notify_service.domain.channels import Capability, Problem
from notify_service.domain.content import Button, Content

_BREAKS = re.compile(r"(?i)<\s*(br|/p|/div|/li|/tr|/h[1-6])\b[^>]*>")
_LINKS = re.compile(r"""(?is)<a\s[^>]*?href\s*=\s*["']?([^"'\s>]+)["']?[^>]*>(.*?)</a>""")
_UNSEEN = re.compile(r"(?is)<(script|style|head|title)\b.*?</\1\s*>|<!--.*?-->")
_TAGS = re.compile(r"(?s)<[^>]*>")
_ELLIPSIS = "\u2026"


def problems(content: Content, capability: Capability) -> Sequence[Problem]:
    """Why this content cannot go over a channel, whatever is done to it. Placeholders count as they are written."""
    return list(_problems(content, capability))


def not_in_bulk(capability: Capability, path: str, recipients: int | None) -> list[FieldError]:
    """`recipients`: how many there are; None: as many as there are in an audience."""
    if capability.bulk or recipients == 1:
        return []
    return [FieldError(path, f"{capability.provider} is not for bulk: it takes one recipient at a time.")]


def adapted(content: Content, capability: Capability) -> Content:
    """What the channel takes of it: words instead of markup, lines instead of buttons, a subject before the text.

    A text that is too long is cut where the channel truncates; where it splits, its adapter does, by `parts`.
    """
    spoken = [button for button in content.buttons if button.url] if len(content.buttons) > capability.buttons else []
    before = content.subject if capability.subject_max is None else None
    markup = content.html if capability.markup == "html" else None
    text = content.text
    if markup is None and content.html is not None:
        text = text or text_of(content.html)
    changes: dict[str, object] = {
        "subject": cut(content.subject, capability.subject_max) if content.subject and not before else None,
        "html": None if markup is None else _html(markup, before, spoken),
        "text": None if markup is not None and text is None else _text(text, before, spoken, capability),
        "buttons": [] if spoken else content.buttons,
    }
    changes = {name: value for name, value in changes.items() if value != getattr(content, name)}
    return content.model_copy(update=changes) if changes else content


Reach = Callable[[str, int, int], int]
"""Of a text, a place in it and a number of units: the place that is so many units further on."""


def characters(text: str, start: int, most: int) -> int:
    del text
    return start + most


def utf16_units(text: str, start: int, most: int) -> int:
    """For those who count as UTF-16 does: what is beyond its first plane, such as most emoji, counts twice."""
    units = text[start : start + most].encode("utf-16-le")[: 2 * most]
    return start + len(units.decode("utf-16-le", "ignore"))


def parts(text: str, most: int, reach: Reach = characters) -> list[str]:
    """The text in pieces of at most `most` units, cut at the end of a paragraph, a line or a word if there is one in
    the second half of the piece."""
    return [text[start:end] for start, end in spans(text, most, reach)]


def spans(text: str, most: int, reach: Reach = characters) -> list[tuple[int, int]]:
    """Where the pieces begin and end; what is between them is blank."""
    found, start = [], 0
    while (limit := reach(text, start, most)) < len(text):
        half = start + most // 2
        at = next((at for mark in ("\n\n", "\n", " ") if (at := text.rfind(mark, half, limit + 1)) > start), limit)
        found.append((start, start + len(text[start:at].rstrip())))
        start = len(text) - len(text[at:].lstrip())
    return [(start, end) for start, end in (*found, (start, len(text))) if end > start]


def text_of(markup: str) -> str:
    """What a reader sees of HTML, with the addresses behind its links."""
    seen = _UNSEEN.sub("", markup)
    seen = _LINKS.sub(_link, seen)
    seen = html.unescape(_TAGS.sub("", _BREAKS.sub("\n", seen)))
    lines = (" ".join(line.split()) for line in seen.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _link(found: re.Match[str]) -> str:
    address, shown = html.unescape(found[1]), html.unescape(_TAGS.sub("", found[2])).strip()
    return html.escape(shown if shown == address or not shown else f"{shown} ({address})")


def _text(text: str | None, subject: str | None, buttons: Sequence[Button], capability: Capability) -> str | None:
    lines = "\n".join(f"{button.title}: {button.url}" for button in buttons)
    words = "\n\n".join(part for part in (subject if text else None, text, lines) if part)
    return cut(words, capability.text_max if capability.overflow == "truncate" else None) or None


def _html(markup: str, subject: str | None, buttons: Sequence[Button]) -> str:
    head = f"<p><b>{html.escape(subject)}</b></p>" if subject else ""
    links = (f'<a href="{html.escape(each.url or "")}">{html.escape(each.title)}</a>' for each in buttons)
    return head + markup + "".join(f"<p>{link}</p>" for link in links)


def cut(text: str, most: int | None) -> str:
    return text if most is None or len(text) <= most else text[: most - 1].rstrip() + _ELLIPSIS


def _problems(content: Content, capability: Capability) -> Iterator[Problem]:
    name = capability.provider
    if content.template is not None and not capability.templates:
        yield Problem("content.template", f"{name} has no templates.")
    if content.reaction is not None and "reaction" not in capability.takes:
        yield Problem("content.reaction", f"{name} has no reactions.")
    yield from _media_problems(content, capability)
    yield from _button_problems(content.buttons, capability)
    if content.choices is not None and "choices" not in capability.takes:
        yield Problem("content.choices", f"{name} has no lists to choose from.")
    text = content.text or ""
    if capability.overflow == "refuse" and capability.text_max is not None and len(text) > capability.text_max:
        yield Problem("content.text", f"At most {capability.text_max} characters for {name}.")


def _media_problems(content: Content, capability: Capability) -> Iterator[Problem]:
    media = content.media
    if media is None:
        return
    rule = capability.media.get(media.kind)
    if rule is None:
        yield Problem("content.media.kind", f"{capability.provider} takes no {media.kind}.")
    elif media.caption and len(media.caption) > rule.caption_max:
        yield Problem("content.media.caption", f"At most {rule.caption_max} characters for {capability.provider}.")


def _button_problems(buttons: Sequence[Button], capability: Capability) -> Iterator[Problem]:
    name = capability.provider
    for index, button in enumerate(buttons):
        if button.id is not None and len(buttons) > capability.buttons:
            yield Problem("content.buttons", f"At most {capability.buttons} that answer, for {name}.")
            return
        if capability.buttons and len(button.title) > capability.button_title_max:
            yield Problem(f"content.buttons.{index}.title", f"At most {capability.button_title_max} characters.")
