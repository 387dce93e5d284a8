"""WhatsApp's Cloud API and the phones behind it: businesses that send under its rules, people who read and answer.

The API proper is in `whatsapp_routes`, what a test or a developer may do to it in `whatsapp_control`.
"""

import hmac
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic import ValidationError

from deploy.sandbox import whatsapp_hooks as hooks
from deploy.sandbox import whatsapp_rules as rules
from deploy.sandbox import whatsapp_shapes as shapes
from deploy.sandbox.callbacks import Callbacks
from deploy.sandbox.clocks import MovableClock
from deploy.sandbox.effects import Effects
from deploy.sandbox.faults import Faults
from deploy.sandbox.whatsapp_rules import Refusal
from deploy.sandbox.whatsapp_state import (
    DAY_SECONDS,
    MEDIA_SECONDS,
    Business,
    Chat,
    Number,
    Person,
    Stored,
    Template,
    new_id,
    new_media_id,
    samples,
)
from libs.clock import Clock

log = structlog.get_logger(__name__)

PROVIDER = "whatsapp"
KEPT_CHATS = 5_000
_FILES = ("image", "video", "audio", "document", "sticker")


@dataclass(frozen=True, slots=True)
class WhatsAppOptions:
    token: str = "parley"  # noqa: S105  -- of a simulator, as the other two
    app_secret: str = "sandbox-app-secret"  # noqa: S105
    business_id: str = "102290129340398"
    number_id: str = "106540352242922"


class WhatsApp:
    """All of it."""

    def __init__(self, options: WhatsAppOptions, effects: Effects, clock: Clock) -> None:
        self.clock = MovableClock(clock)
        self.faults = Faults()
        self.options = options
        self.people: dict[str, Person] = {}
        self.businesses: dict[str, Business] = {}
        self.media: dict[str, Stored] = {}
        self._chats: deque[Chat] = deque(maxlen=KEPT_CHATS)
        self._effects = effects
        self.add_number(options.business_id, options.number_id)

    def knows(self, authorization: str) -> bool:
        return hmac.compare_digest(authorization.encode(), f"Bearer {self.options.token}".encode())

    def add_number(self, business_id: str, number_id: str) -> tuple[Business, Number]:
        """A number of a business, new where there is none yet."""
        business = self.businesses.get(business_id)
        if business is None:
            callbacks = Callbacks(lambda items: hooks.pack(items, self.options.app_secret))
            business = Business(business_id, callbacks, templates=samples())
            self.businesses[business_id] = business
        return business, business.numbers.setdefault(number_id, Number(number_id))

    def number(self, number_id: str) -> tuple[Business, Number]:
        for business in self.businesses.values():
            if number_id in business.numbers:
                return business, business.numbers[number_id]
        details = f"Object with ID '{number_id}' does not exist, or cannot be loaded due to missing permissions"
        raise Refusal(100, details, subcode=33)

    def person(self, phone: str) -> Person:
        """Everybody has a phone with WhatsApp, until told otherwise."""
        return self.people.setdefault(phone, Person(phone))

    def addressed(self, post: shapes.Post) -> Person:
        if post.to is not None:
            return self.person("+" + post.to.removeprefix("+"))
        found = next((each for each in self.people.values() if each.user_id == post.recipient), None)
        if found is None:
            raise Refusal(*((131009, "recipient: no such user") if post.recipient else (131008, "to: is required")))
        return found

    def send(self, number_id: str, body: object) -> dict[str, Any]:
        """What a business posts. Raises Refusal."""
        business, number = self.number(number_id)
        if isinstance(body, dict) and "status" in body:
            return self._mark_read(number, body)
        post = _shaped(body)
        person = self.addressed(post)
        now = self.clock.seconds()
        template = rules.found_template(business, post.template) if isinstance(post, shapes.TemplatePost) else None
        text = rules.worded(template, post.template) if template and isinstance(post, shapes.TemplatePost) else ""
        self._check_file(post, number, now)
        if person.phone == f"+{number.display}":
            raise Refusal(131021, "The sender and the recipient are the same.")
        rules.keep_pace(number, now)
        rules.keep_apart(number, person.phone, now)
        chat = Chat(
            id=new_id(),
            number=number,
            person=person,
            ours=True,
            at=now,
            type=post.type,
            content=post.content().model_dump(exclude_none=True),
            text=text or shown(post),
            buttons=_buttons(post, template),
            opaque=post.biz_opaque_callback_data,
            reply_to=post.context.message_id if post.context else None,
            to_user_id=post.to is None,
        )
        self._chats.append(chat)
        self._arrive(business, chat, rules.failing(business, number, person, now, template=template))
        return _taken(chat, (post.to or post.recipient or ""))

    def _arrive(self, business: Business, chat: Chat, code: int | None) -> None:
        if code is not None:
            self.tell(business, chat, "failed", code)
            return
        self.tell(business, chat, "sent")
        self.tell(business, chat, "delivered")

    def tell(self, business: Business, chat: Chat, state: str, code: int | None = None) -> None:
        """A message has got somewhere, or nowhere."""
        chat.statuses.append(state)
        error = rules.failure(code) if code is not None else None
        business.callbacks.add(hooks.status(business, chat, state, at=self.clock.seconds(), error=error))
        if state != "sent":
            data = {"message": chat.id, "type": chat.type, "text": chat.text, "opaque": chat.opaque, "code": code}
            self._effects.add(PROVIDER, state, recipients=(chat.person.phone,), data=data)

    def refuse(self, phone: str, reply: str | None) -> None:
        """Something scripted came instead of an answer."""
        self._effects.add(PROVIDER, "refused", recipients=(phone,), data={"reply": reply})

    def _mark_read(self, number: Number, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            asked = shapes.Read.model_validate(body)
        except ValidationError as error:
            raise _refusal(error) from None
        chat = self.chat(asked.message_id)
        if chat is None or chat.ours or chat.number is not number:
            raise Refusal(131009, "message_id: no such message")
        for each in self.chats(number=number, person=chat.person):
            if not each.ours and each.at <= chat.at and "read" not in each.statuses:
                each.statuses.append("read")
        if asked.typing_indicator:
            self._effects.add(PROVIDER, "typing", recipients=(chat.person.phone,), data={"message": chat.id})
        return {"success": True}

    def _check_file(self, post: shapes.AnyPost, number: Number, now: float) -> None:
        media_id = getattr(post.content(), "id", None) if post.type in _FILES else None
        if media_id is not None:
            self.stored(media_id, number.id, now)

    def store(self, number_id: str, mime: str, content: bytes) -> Stored:
        found = Stored(new_media_id(), number_id, mime, content, self.clock.seconds() + MEDIA_SECONDS)
        self.media[found.id] = found
        return found

    def stored(self, media_id: str, number_id: str | None, now: float) -> Stored:
        found = self.media.get(media_id)
        if found is None or found.until <= now or number_id not in (None, found.number_id):
            raise Refusal(100, f"Object with ID '{media_id}' does not exist", subcode=33)
        return found

    def write(self, number: Number, person: Person, **what: Any) -> Chat:
        """A person writes to a business, which may answer freely for a day. `what`: type, content, text, reply_to."""
        business, _ = self.number(number.id)
        now = self.clock.seconds()
        number.second.append(now)
        number.windows[person.phone] = now + DAY_SECONDS
        chat = Chat(new_id(), number, person, ours=False, at=now, **what)
        self._chats.append(chat)
        business.callbacks.add(hooks.message(business, chat))
        return chat

    def read(self, number: Number, person: Person) -> int:
        """A person looks at what a business wrote. How much was new."""
        business, _ = self.number(number.id)
        new = [
            each
            for each in self.chats(number=number, person=person)
            if each.ours and each.statuses[-1:] == ["delivered"]
        ]
        for each in reversed(new):
            self.tell(business, each, "read")
        return len(new)

    def chat(self, message_id: str) -> Chat | None:
        return next((each for each in self._chats if each.id == message_id), None)

    def chats(self, *, number: Number | None = None, person: Person | None = None) -> Sequence[Chat]:
        """Newest first."""
        return [
            each
            for each in reversed(self._chats)
            if (number is None or each.number is number) and (person is None or each.person is person)
        ]

    def clear(self) -> None:
        self._chats.clear()

    async def close(self) -> None:
        for business in self.businesses.values():
            await business.callbacks.close()


def _shaped(body: object) -> shapes.AnyPost:
    given = {"type": "text", **body} if isinstance(body, dict) else body
    try:
        return shapes.POSTS.validate_python(given)
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> Refusal:
    """Missing, misspelt or wrong: three codes."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    codes = {"missing": 131008, "extra_forbidden": 100, "union_tag_invalid": 100, "model_type": 100}
    path = ".".join(str(part) for part in first["loc"]) or "type"
    return Refusal(codes.get(first["type"], 131009), f"{path}: {first['msg']}")


def _taken(chat: Chat, given: str) -> dict[str, Any]:
    who = {"user_id": chat.person.user_id} if chat.to_user_id else {"wa_id": chat.person.wa_id}
    message: dict[str, Any] = {"id": chat.id}
    if chat.type == "template":
        message["message_status"] = "accepted"
    return {"messaging_product": "whatsapp", "contacts": [{"input": given, **who}], "messages": [message]}


def shown(post: shapes.AnyPost) -> str:
    """What a reader sees of it in words."""
    content = post.content()
    if isinstance(content, shapes.Text):
        return content.body
    if isinstance(content, shapes.Reaction):
        return content.emoji
    if isinstance(post, shapes.InteractivePost):
        return post.interactive.body.text
    return getattr(content, "caption", None) or ""


def _buttons(post: shapes.AnyPost, template: Template | None) -> tuple[tuple[str, str], ...]:
    if template is not None:
        found = template.part("BUTTONS").get("buttons", [])
        return tuple((each["text"], each["text"]) for each in found if each["type"] == "QUICK_REPLY")
    if not isinstance(post, shapes.InteractivePost):
        return ()
    interactive = post.interactive
    if isinstance(interactive, shapes.Buttons):
        return tuple((each.reply.id, each.reply.title) for each in interactive.action.buttons)
    if isinstance(interactive, shapes.List):
        return tuple((row.id, row.title) for section in interactive.action.sections for row in section.rows)
    return ()
