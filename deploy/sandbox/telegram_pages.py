"""Telegram as a person sees it: chats with the bot, a field to answer in, buttons to press."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from deploy.sandbox.markup import Html, tag
from deploy.sandbox.pages import framed
from deploy.sandbox.talks import Said, field, talk
from deploy.sandbox.telegram_chats import Chat
from deploy.sandbox.telegram_content import MEDIA
from deploy.sandbox.telegram_routes import chat_of, stand, telegram_of

_HOME = "/telegram"
_FIRST_PERSON = 5_000_001


async def show_chats(request: Request) -> Response:
    """All chats, and a way to begin one."""
    chats = telegram_of(request).chats.all()
    start = tag(
        "form",
        tag("input", name="name", value="Ada", aria_label="Name", maxlength="60"),
        tag("input", name="payload", placeholder="Payload of a link", aria_label="Payload", pattern="[A-Za-z0-9_-]*"),
        tag("button", "Start a chat"),
        method="post",
        action=f"{_HOME}/start",
    )
    return HTMLResponse(framed("Telegram", tag("div", start, class_="toolbar"), _list(chats)))


async def show_chat(request: Request) -> Response:
    """One chat, oldest first."""
    chat = chat_of(request)
    shut = chat.refusal is not None
    standing = _form(chat, "stand", tag("button", "Unblock" if shut else "Block"), do="admit" if shut else "block")
    name = tag("p", f"{chat.kind} {chat.id}{', blocked' if shut else ''}")
    shown = talk([_said(chat, message) for message in chat.messages])
    tools = tag("div", name, standing, class_="toolbar")
    parts = (tag("h1", chat.name), tools, shown, field(f"{_HOME}/with/{chat.id}/write"))
    return HTMLResponse(framed(chat.name, *parts, section="Telegram"))


async def start(request: Request) -> Response:
    """Somebody new presses Start."""
    telegram, form = telegram_of(request), await request.form()
    known = [chat.id for chat in telegram.chats.all() if chat.kind == "private"]
    chat_id = max([_FIRST_PERSON - 1, *known]) + 1
    telegram.start(chat_id, str(form.get("name") or "Ada")[:60], str(form.get("payload", ""))[:64])
    return RedirectResponse(f"{_HOME}/with/{chat_id}", status_code=303)


async def act(request: Request) -> Response:
    """A form of the chat's page: write, press a button, block or unblock."""
    telegram, chat, form = telegram_of(request), chat_of(request), await request.form()
    given = {name: str(value) for name, value in form.items()}
    match request.path_params["act"]:
        case "write" if given.get("text"):
            telegram.write(chat, {"text": given["text"]})
        case "press" if given.get("message", "").isdecimal():
            telegram.press(chat, int(given["message"]), given.get("data", ""))
        case "stand" if given.get("do") in ("block", "admit"):
            stand(telegram, chat, given["do"])
        case _:
            raise HTTPException(422, "Nothing to do.")
    return RedirectResponse(f"{_HOME}/with/{chat.id}", status_code=303)


def routes() -> Sequence[Route]:
    return [
        Route(_HOME, show_chats, methods=["GET"]),
        Route(f"{_HOME}/start", start, methods=["POST"]),
        Route(f"{_HOME}/with/{{chat}}", show_chat, methods=["GET"]),
        Route(f"{_HOME}/with/{{chat}}/{{act}}", act, methods=["POST"]),
    ]


def _list(chats: Sequence[Chat]) -> Html:
    if not chats:
        return tag("p", "No chat yet. A bot may write to those who have pressed Start.", class_="empty")
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in ("Chat", "Last message"))))
    return tag("table", head, tag("tbody", *(_row(chat) for chat in chats)))


def _row(chat: Chat) -> Html:
    last = _words(chat.messages[-1])[:120] if chat.messages else ""
    name = tag("a", chat.name, href=f"{_HOME}/with/{chat.id}")
    return tag("tr", tag("td", name, tag("small", f"{chat.kind} {chat.id}")), tag("td", last))


def _said(chat: Chat, message: Mapping[str, Any]) -> Said:
    at = datetime.fromtimestamp(message["date"], UTC)
    note = " ".join((f"{at:%H:%M}", *message.get("reactions", ())))
    keys = [_button(chat, message, key) for row in _rows(message) for key in row]
    return Said(_words(message), not message["from"]["is_bot"], note, keys)


def _rows(message: Mapping[str, Any]) -> Sequence[Sequence[Mapping[str, str]]]:
    found: Sequence[Sequence[Mapping[str, str]]] = message.get("reply_markup", {}).get("inline_keyboard", ())
    return found


def _button(chat: Chat, message: Mapping[str, Any], button: Mapping[str, str]) -> Html:
    if "url" in button:
        return tag("a", button["text"], href=button["url"], target="_blank", rel="noopener noreferrer", class_="key")
    pressed = {"message": str(message["message_id"]), "data": button["callback_data"]}
    return _form(chat, "press", tag("button", button["text"]), **pressed)


def _form(chat: Chat, act: str, *parts: Html, **hidden: str) -> Html:
    fields = (tag("input", type="hidden", name=name, value=value) for name, value in hidden.items())
    return tag("form", *fields, *parts, method="post", action=f"{_HOME}/with/{chat.id}/{quote(act)}")


def _words(message: Mapping[str, Any]) -> str:
    files = [f"[{name}: {message[name].get('url', 'file')}]" for name in MEDIA.values() if name in message]
    said = [str(message[name]) for name in ("text", "caption") if name in message]
    return "\n".join(files + said) or "(nothing to see)"
