"""What somebody wants to say, as bodies of WhatsApp's messages.

Limits from Meta's pages on messages (of 2026-06-17) and those of its libraries: a text has 4,096 characters; what
stands above buttons, or below a file, 1,024; a list up to ten rows. A template is sent alone: text beside it is for
channels that have no templates.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from notify_service.domain.adaptation import text_of
from notify_service.domain.channels import CannotRender, Message, Problem
from notify_service.domain.channels.markup import Run, read
from notify_service.domain.channels.whatsapp_markup import fitting
from notify_service.domain.content import Approved, Button, Choices, Content, Media

TEXT_MAX, BODY_MAX = 4096, 1024
_BUTTON_MAX, _ROW_MAX, _ROW_TEXT_MAX = 20, 24, 72
_CAPTIONED = frozenset({"image", "video", "document"})
_MEDIA_ID = re.compile(r"[0-9]{1,32}")
_LINK = re.compile(r"https?://\S")

Body = dict[str, Any]


def bodies(message: Message, *, own_media: str, previews: bool) -> list[bytes]:
    """The bodies of POST /messages, in the order of their sending. Raises CannotRender.

    `own_media`: what stands before the id in the address of a file that was uploaded to WhatsApp.
    """
    content = message.content
    if content is None:
        # Our own mails and codes need a template of theirs, which whoever sends them has to name.
        raise CannotRender("no_content")
    return [
        json.dumps({**_envelope(message), **each}, ensure_ascii=False).encode()
        for each in _bodies(content, own_media, previews=previews)
    ]


def _envelope(message: Message) -> Body:
    # Without its plus the number is taken for one of the sender's own country.
    key = "to" if message.address.startswith("+") else "recipient"
    return {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        key: message.address,
        "biz_opaque_callback_data": str(message.id),
    }


def _bodies(content: Content, own_media: str, *, previews: bool) -> list[Body]:
    if content.reaction is not None:
        reaction = {"message_id": content.reaction.message_id, "emoji": content.reaction.emoji}
        return [{"type": "reaction", "reaction": reaction}]
    if content.template is not None:
        found = [{"type": "template", "template": _template(content.template, own_media)}]
    else:
        found = _free(content, own_media, previews=previews)
    if content.reply_to is not None:
        found[0] = {**found[0], "context": {"message_id": content.reply_to}}
    return found


def _free(content: Content, own_media: str, *, previews: bool) -> list[Body]:
    """A message that needs an open window: a file, words, and what to touch, in as few messages as may be."""
    media, words, buttons = content.media, _words(content), content.buttons
    answers = [button for button in buttons if button.id is not None]
    links = [button for button in buttons if button.url is not None]
    if links and len(buttons) > 1:
        # One message has either buttons that answer or one that opens an address.
        words = _joined(words, [Run("\n".join(f"{button.title}: {button.url}" for button in links))])
        links = []
    if not (answers or links or content.choices):
        return _plain(media, words, own_media, previews=previews)
    header = media if media and media.kind in _CAPTIONED and not content.choices else None
    before: list[Body] = [] if media is None or media is header else _plain(media, [], own_media, previews=previews)
    if header and header.caption:
        words = _joined([Run(header.caption)], words)
    *earlier, last = fitting(words, BODY_MAX) or [""]
    if not last:
        raise CannotRender("no_text")
    before += [_text(each, previews=previews) for each in earlier]
    kind, action = _action(answers, links, content.choices)
    interactive: Body = {"type": kind, "body": {"text": last}, "action": action}
    if header is not None:
        interactive["header"] = {"type": header.kind, header.kind: _file(header, own_media)}
    return [*before, {"type": "interactive", "interactive": interactive}]


def _plain(media: Media | None, words: Sequence[Run], own_media: str, *, previews: bool) -> list[Body]:
    found: list[Body] = []
    if media is not None:
        caption = media.caption
        if caption is None and media.kind in _CAPTIONED and len(whole := fitting(words, BODY_MAX)) == 1:
            caption, words = whole[0], []
        found.append({"type": media.kind, media.kind: _file(media, own_media, caption=caption)})
    found += [_text(each, previews=previews) for each in fitting(words, TEXT_MAX)]
    if not found:
        raise CannotRender("no_text")
    return found


def _words(content: Content) -> list[Run]:
    """Formatted where there is HTML. A plain text is as it is, with the marks of WhatsApp that it may have."""
    if content.html is not None:
        return read(content.html)
    text = (content.text or "").strip()
    return [Run(text)] if text else []


def _joined(first: list[Run], second: list[Run]) -> list[Run]:
    return [*first, Run("\n\n"), *second] if first and second else [*first, *second]


def _text(words: str, *, previews: bool) -> Body:
    return {"type": "text", "text": {"body": words, "preview_url": previews and bool(_LINK.search(words))}}


def _file(media: Media, own_media: str, *, caption: str | None = None) -> Body:
    """By its id where it was uploaded to WhatsApp before, or by the address that WhatsApp fetches it from."""
    base, _, name = media.url.rpartition("/")
    uploaded = base == own_media and _MEDIA_ID.fullmatch(name)
    found: Body = {"id": name} if uploaded else {"link": media.url}
    if caption and media.kind in _CAPTIONED:
        found["caption"] = caption
    if media.filename and media.kind == "document":
        found["filename"] = media.filename
    return found


def _action(answers: Sequence[Button], links: Sequence[Button], choices: Choices | None) -> tuple[str, Body]:
    if choices is not None:
        rows = [each.model_dump(exclude_none=True) for each in choices.choices]
        return "list", {"button": choices.title, "sections": [{"rows": rows}]}
    if answers:
        return "button", {"buttons": [{"type": "reply", "reply": {"id": b.id, "title": b.title}} for b in answers]}
    parameters = {"display_text": links[0].title, "url": links[0].url}
    return "cta_url", {"name": "cta_url", "parameters": parameters}


def _template(template: Approved, own_media: str) -> Body:
    components: list[Body] = []
    if isinstance(template.header, Media):
        kind = template.header.kind
        components.append({"type": "header", "parameters": [{"type": kind, kind: _file(template.header, own_media)}]})
    elif template.header is not None:
        components.append({"type": "header", "parameters": [_parameter(template.header)]})
    if template.body:
        components.append({"type": "body", "parameters": [_parameter(each) for each in template.body]})
    components += [
        {"type": "button", "sub_type": "url", "index": str(index), "parameters": [_parameter(each)]}
        for index, each in enumerate(template.buttons)
    ]
    found: Body = {"name": template.name, "language": {"code": template.language}}
    return {**found, "components": components} if components else found


def _parameter(words: str) -> Body:
    """Neither empty nor with line breaks, tabs or many spaces in a row: WhatsApp refuses those."""
    shown = " ".join(words.split())
    if not shown:
        raise CannotRender("empty_parameter")
    return {"type": "text", "text": shown}


def check_content(content: Content) -> Sequence[Problem]:
    """What WhatsApp's messages cannot have, beyond the capability."""
    return list(_problems(content))


def _problems(content: Content) -> Iterator[Problem]:
    template = content.template
    if template is not None:
        if isinstance(template.header, Media) and template.header.kind not in _CAPTIONED:
            yield Problem("content.template.header.kind", "The header of a template is an image, video or document.")
        return
    if content.buttons and content.choices:
        yield Problem("content.choices", "WhatsApp takes buttons or a list to choose from, not both.")
    if (content.buttons or content.choices) and not _spoken(content):
        yield Problem("content.text", "WhatsApp shows buttons and lists below a text: give one.")
    titles = [button.title for button in content.buttons if button.id]
    ids = [button.id for button in content.buttons if button.id]
    if len(set(titles)) < len(titles) or len(set(ids)) < len(ids):
        yield Problem("content.buttons", "Titles and ids of buttons differ from one another.")
    if content.choices is not None:
        yield from _list_problems(content.choices)


def _spoken(content: Content) -> str:
    media = content.media
    caption = media.caption if media and media.kind in _CAPTIONED and not content.choices else None
    return content.text or (text_of(content.html) if content.html else "") or caption or ""


def _list_problems(choices: Choices) -> Iterator[Problem]:
    if len(choices.title) > _BUTTON_MAX:
        yield Problem("content.choices.title", f"At most {_BUTTON_MAX} characters.")
    if len({each.id for each in choices.choices}) < len(choices.choices):
        yield Problem("content.choices.choices", "Ids of choices differ from one another.")
    limits: Mapping[str, int] = {"title": _ROW_MAX, "description": _ROW_TEXT_MAX}
    for index, each in enumerate(choices.choices):
        for name, most in limits.items():
            if len(getattr(each, name) or "") > most:
                yield Problem(f"content.choices.choices.{index}.{name}", f"At most {most} characters.")
