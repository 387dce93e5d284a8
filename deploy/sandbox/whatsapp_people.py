"""What people do with their phones: write, touch a button, react, send a file."""

import base64
import binascii
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from deploy.sandbox.whatsapp import WhatsApp
from deploy.sandbox.whatsapp_state import Chat, Number, Person


class Attachment(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Annotated[str, Field(pattern="^(image|video|audio|document|sticker)$")] = "image"
    mime: Annotated[str, Field(max_length=100)] = "image/png"
    content: str
    """In base64."""
    caption: str | None = None
    filename: str | None = None


class Place(BaseModel):
    model_config = ConfigDict(extra="forbid")

    latitude: Annotated[float, Field(ge=-90, le=90)]
    longitude: Annotated[float, Field(ge=-180, le=180)]
    name: str | None = None


class Answer(BaseModel):
    """One thing that a person does. `reply_to` is the message that is answered, reacted to, or whose button it is."""

    model_config = ConfigDict(extra="forbid")

    reply_to: str | None = None
    text: Annotated[str, Field(min_length=1, max_length=65_536)] | None = None
    button: str | None = None
    """The id of a button or a row of `reply_to`."""
    emoji: str | None = None
    file: Attachment | None = None
    place: Place | None = None
    contact: str | None = None
    """A phone that is passed on."""
    unsupported: bool = False

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = (self.text, self.button, self.emoji, self.file, self.place, self.contact, self.unsupported or None)
        if sum(each is not None for each in given) != 1:
            raise ValueError("one of text, button, emoji, file, place, contact and unsupported")
        if (self.button is not None or self.emoji is not None) and self.reply_to is None:
            raise ValueError("button and emoji need reply_to")
        return self


def answer(whatsapp: WhatsApp, number: Number, person: Person, given: Answer) -> Chat:
    """Raises ValueError for what cannot be done."""
    kind, content, shown = _content(whatsapp, number, given)
    reply_to = None if given.emoji is not None else given.reply_to
    return whatsapp.write(number, person, type=kind, content=content, text=shown, reply_to=reply_to)


def _content(whatsapp: WhatsApp, number: Number, given: Answer) -> tuple[str, Any, str]:
    """The type, what stands below its name, and what a reader sees of it."""
    if given.text is not None:
        return "text", {"body": given.text}, given.text
    if given.button is not None:
        return _touched(whatsapp, given.reply_to or "", given.button)
    if given.emoji is not None:
        return "reaction", {"message_id": given.reply_to, "emoji": given.emoji}, given.emoji
    if given.file is not None:
        return _file(whatsapp, number, given.file)
    if given.place is not None:
        return "location", given.place.model_dump(exclude_none=True), given.place.name or "A place"
    if given.contact is not None:
        return "contacts", [{"phones": [{"phone": given.contact}]}], given.contact
    return "unsupported", {"type": "poll_creation"}, ""


def _touched(whatsapp: WhatsApp, message_id: str, button: str) -> tuple[str, dict[str, Any], str]:
    chat = whatsapp.chat(message_id)
    title = dict(chat.buttons).get(button) if chat else None
    if chat is None or title is None:
        raise ValueError("there is no such button")
    if chat.type == "template":
        return "button", {"payload": button, "text": title}, title
    kind = "list_reply" if chat.content["type"] == "list" else "button_reply"
    return "interactive", {"type": kind, kind: {"id": button, "title": title}}, title


def _file(whatsapp: WhatsApp, number: Number, given: Attachment) -> tuple[str, dict[str, Any], str]:
    try:
        content = base64.b64decode(given.content, validate=True)
    except binascii.Error:
        raise ValueError("content is no base64") from None
    stored = whatsapp.store(number.id, given.mime, content)
    digest = base64.b64encode(bytes.fromhex(stored.sha256)).decode()
    found: dict[str, Any] = {"id": stored.id, "mime_type": given.mime, "sha256": digest}
    found |= {name: value for name in ("caption", "filename") if (value := getattr(given, name))}
    return given.kind, found, given.caption or ""
