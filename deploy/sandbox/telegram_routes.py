"""The Bot API, and what the people at the other end shall do."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deploy.sandbox import scripted
from deploy.sandbox.callbacks import Manners
from deploy.sandbox.clocks import Advance
from deploy.sandbox.telegram import Telegram
from deploy.sandbox.telegram_chats import Chat, Refused

_WORDS = {
    "block": "bot was blocked by the user",
    "kick": "bot was kicked from the supergroup chat",
    "deactivate": "user is deactivated",
}


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewChat(Order):
    """A person who presses Start, or a group or channel that takes the bot in."""

    id: int
    kind: Literal["private", "group", "supergroup", "channel"] = "private"
    name: Annotated[str, Field(min_length=1, max_length=255)] = "Ada"
    username: str | None = None
    payload: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,64}$")] = ""


class Said(Order):
    """What a person sends: fields of Telegram's Message, with the file of `document` in base64."""

    content: dict[str, Any]
    file: str | None = None


class Pressed(Order):
    message_id: int
    data: Annotated[str, Field(min_length=1, max_length=64)]


class Edited(Order):
    message_id: int
    text: Annotated[str, Field(min_length=1)]


class Standing(Order):
    do: Literal["block", "kick", "deactivate", "admit", "migrate"]


async def call_method(request: Request) -> Response:
    """`/bot<token>/<method>`, with parameters in the query or a JSON body."""
    telegram, method = telegram_of(request), request.path_params["method"]
    try:
        telegram.admit(request.path_params["token"])
        body = {**request.query_params, **_parameters(await request.body())}
    except Refused as refusal:
        return _refuse(refusal)

    async def act() -> Response:
        try:
            return JSONResponse({"ok": True, "result": await telegram.call(method, body)})
        except Refused as refusal:
            return _refuse(refusal)

    return await scripted.struck(telegram.faults, f"{method} {body.get('chat_id', '')}", act, _refuse_as_ordered)


async def fetch_file(request: Request) -> Response:
    """`/file/bot<token>/<path>`, with a path of `getFile`."""
    telegram = telegram_of(request)
    try:
        telegram.admit(request.path_params["token"])
    except Refused as refusal:
        return _refuse(refusal)
    found = telegram.file(request.path_params["path"])
    return _refuse(Refused(404, "Not Found")) if found is None else Response(found, media_type="application/pdf")


async def make_chat(request: Request) -> Response:
    """See `NewChat`."""
    telegram, order = telegram_of(request), NewChat.model_validate_json(await request.body())
    if order.kind == "private":
        telegram.start(order.id, order.name, order.payload)
    else:
        chat = telegram.chats.make(order.id, order.kind, order.name, order.username)
        telegram.admit_bot(chat)
    return JSONResponse({"id": order.id}, 201)


async def list_chats(request: Request) -> Response:
    """All chats, with what was written in them."""
    found = [{**chat.as_json(), "messages": list(chat.messages)} for chat in telegram_of(request).chats.all()]
    return JSONResponse({"results": found})


async def write(request: Request) -> Response:
    """See `Said`."""
    said = Said.model_validate_json(await request.body())
    file = base64.b64decode(said.file, validate=True) if said.file else None
    written = telegram_of(request).write(chat_of(request), said.content, file)
    return JSONResponse({"message_id": written["message_id"]}, 201)


async def press(request: Request) -> Response:
    """See `Pressed`."""
    order = Pressed.model_validate_json(await request.body())
    query = telegram_of(request).press(chat_of(request), order.message_id, order.data)
    return JSONResponse({"id": query}, 201)


async def edit(request: Request) -> Response:
    """See `Edited`."""
    order = Edited.model_validate_json(await request.body())
    telegram_of(request).edit(chat_of(request), order.message_id, order.text)
    return Response(status_code=204)


async def change_standing(request: Request) -> Response:
    """What the bot may do here: `block`, `kick`, `deactivate`, `admit`; or `migrate` to a supergroup."""
    stand(telegram_of(request), chat_of(request), Standing.model_validate_json(await request.body()).do)
    return Response(status_code=204)


async def set_manners(request: Request) -> Response:
    """How the webhook is called; see `Manners`."""
    telegram_of(request).updates.behave(Manners.model_validate_json(await request.body()))
    return Response(status_code=204)


async def advance_clock(request: Request) -> Response:
    """Limits believe that so many seconds have passed."""
    telegram_of(request).chats.clock.advance(Advance.model_validate_json(await request.body()).seconds)
    return Response(status_code=204)


def routes() -> Sequence[Route]:
    return [
        Route("/telegram/bot{token}/{method}", call_method, methods=["GET", "POST"]),
        Route("/telegram/file/bot{token}/{path:path}", fetch_file, methods=["GET"]),
        Route("/telegram/chats", make_chat, methods=["POST"]),
        Route("/telegram/chats", list_chats, methods=["GET"]),
        Route("/telegram/chats/{chat}/messages", write, methods=["POST"]),
        Route("/telegram/chats/{chat}/presses", press, methods=["POST"]),
        Route("/telegram/chats/{chat}/edits", edit, methods=["POST"]),
        Route("/telegram/chats/{chat}/standing", change_standing, methods=["POST"]),
        Route("/telegram/callbacks", set_manners, methods=["PUT"]),
        Route("/telegram/clock", advance_clock, methods=["POST"]),
        *scripted.routes("/telegram/faults", lambda request: telegram_of(request).faults),
    ]


def telegram_of(request: Request) -> Telegram:
    found: Telegram = request.app.state.telegram
    return found


def chat_of(request: Request) -> Chat:
    found = telegram_of(request).chats.get(int(request.path_params["chat"]))
    if found is None:
        raise HTTPException(404, "No such chat.")
    return found


def stand(telegram: Telegram, chat: Chat, do: str) -> None:
    if do == "migrate":
        telegram.migrate(chat)
    elif do == "admit":
        telegram.admit_bot(chat)
    else:
        telegram.shut_out(chat, _WORDS[do])


def _parameters(raw: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(raw or b"{}")
    except ValueError:
        raise Refused(400, "Bad Request: can't parse JSON object") from None
    if not isinstance(body, dict):
        raise Refused(400, "Bad Request: object expected")
    return body


def _refuse(refusal: Refused) -> Response:
    said: dict[str, Any] = {"ok": False, "error_code": refusal.status, "description": refusal.description}
    if refusal.parameters:
        said["parameters"] = dict(refusal.parameters)
    return JSONResponse(said, refusal.status)


def _refuse_as_ordered(status: int, words: str) -> Response:
    """`429 Too Many Requests: retry after 7` has the number in its parameters too, as Telegram's have."""
    _, _, seconds = words.partition("retry after ")
    pause = {"retry_after": int(seconds)} if seconds.isdecimal() else {}
    return _refuse(Refused(status, words, **pause))
