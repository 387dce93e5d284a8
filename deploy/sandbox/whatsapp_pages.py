"""The pages of somebody's phone: who wrote, what, and a way to answer."""

from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from deploy.sandbox.markup import Html, tag
from deploy.sandbox.pages import SHOWN, framed
from deploy.sandbox.talks import Said, field, talk
from deploy.sandbox.whatsapp_control import number_of, person_of
from deploy.sandbox.whatsapp_people import Answer, answer
from deploy.sandbox.whatsapp_routes import whatsapp_of
from deploy.sandbox.whatsapp_state import Chat, Person


class Form(BaseModel):
    """What the form of a phone sends."""

    text: str = ""
    button: str = ""
    reply_to: str = ""


async def show_phones(request: Request) -> Response:
    """Everybody with whom a business has written, by the newest message."""
    newest: dict[str, Chat] = {}
    for each in whatsapp_of(request).chats():
        newest.setdefault(each.person.phone, each)
    rows = [_phone(each) for each in list(newest.values())[:SHOWN]]
    hint = tag("p", "No message yet. What Parley sends with WhatsApp appears here.", class_="empty")
    names = ("Phone", "Newest message", "State")
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in names)))
    return HTMLResponse(framed("WhatsApp", tag("table", head, tag("tbody", *rows)) if rows else hint))


async def show_phone(request: Request) -> Response:
    """One phone, with the newest of what is on it for the business's number."""
    person = person_of(request)
    _, number = number_of(request)
    chats = whatsapp_of(request).chats(number=number, person=person)[:SHOWN]
    shown = talk([_said(each) for each in reversed(chats)])
    parts = (tag("h1", person.name or person.phone), _doings(person), shown, field(f"{_path(person)}/say"))
    return HTMLResponse(framed(person.phone, *parts, section="WhatsApp"))


async def say(request: Request) -> Response:
    """The form: words, or the button of a message."""
    async with request.form() as form:
        said = Form.model_validate(dict(form))
    person = person_of(request)
    _, number = number_of(request)
    if said.button:
        answer(whatsapp_of(request), number, person, Answer(button=said.button, reply_to=said.reply_to))
    elif said.text:
        answer(whatsapp_of(request), number, person, Answer(text=said.text))
    return _back(person)


async def look(request: Request) -> Response:
    """The button of whoever has read it all."""
    person = person_of(request)
    whatsapp_of(request).read(number_of(request)[1], person)
    return _back(person)


async def block(request: Request) -> Response:
    """The button of whoever has had enough, or thinks better of it."""
    person = person_of(request)
    person.blocks = not person.blocks
    return _back(person)


def routes() -> Sequence[Route]:
    phone = "/whatsapp/phones/{phone}"
    return [
        Route("/whatsapp", show_phones, methods=["GET"]),
        Route(phone, show_phone, methods=["GET"]),
        Route(f"{phone}/say", say, methods=["POST"]),
        Route(f"{phone}/look", look, methods=["POST"]),
        Route(f"{phone}/block", block, methods=["POST"]),
    ]


def _back(person: Person) -> Response:
    return RedirectResponse(_path(person), status_code=303)


def _path(person: Person) -> str:
    return f"/whatsapp/phones/{person.wa_id}"


def _phone(chat: Chat) -> Html:
    link = tag("a", chat.person.phone, href=_path(chat.person))
    text = chat.text if chat.ours else f"You: {chat.text}"
    return tag("tr", tag("td", link, class_="to"), tag("td", text or chat.type), tag("td", _state(chat)))


def _state(chat: Chat) -> str:
    return chat.statuses[-1] if chat.statuses else ""


def _doings(person: Person) -> Html:
    path = _path(person)
    return tag(
        "div",
        tag("p", f"{person.phone}, blocked" if person.blocks else person.phone),
        tag("form", tag("button", "Read all"), method="post", action=f"{path}/look"),
        tag("form", tag("button", "Unblock" if person.blocks else "Block"), method="post", action=f"{path}/block"),
        class_="toolbar",
    )


def _said(chat: Chat) -> Said:
    at = datetime.fromtimestamp(chat.at, UTC)
    note = ", ".join(each for each in (f"{at:%H:%M}", chat.type if chat.type != "text" else "", _state(chat)) if each)
    return Said(chat.text, not chat.ours, note, [_button(chat, each, title) for each, title in chat.buttons])


def _button(chat: Chat, button: str, title: str) -> Html:
    hidden = [
        tag("input", type="hidden", name=name, value=value)
        for name, value in (("button", button), ("reply_to", chat.id))
    ]
    return tag("form", *hidden, tag("button", title), method="post", action=f"{_path(chat.person)}/say")
