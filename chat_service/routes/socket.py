"""The door of `/ws`: takes the handshake, finds out what credential it brings, and hands the wire to a session."""

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from chat_service.domain.context import Context
from chat_service.domain.sessions import Session
from chat_service.routes.wire import EXTENSION, Wire
from libs import cookies, csrf
from libs.cookies import ACCESS_COOKIE
from libs.csrf import CrossSite

SUBPROTOCOL = "chat.v1"
PATHS = ("/ws", "/ws/")
_BEARER = re.compile(r"bearer +([^ ]+) *", re.IGNORECASE)


class SocketDoor:
    """Outside of everything else of the app: layers that a frame never passes cost memory for each open socket."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket" or scope["path"] not in PATHS:
            await self._app(scope, receive, send)
            return
        await receive()
        offered: list[str] = scope["subprotocols"]
        if SUBPROTOCOL not in offered:
            # Browsers hide why a handshake was refused: accepting and closing with a reason is the way to say it.
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 4500, "reason": f"subprotocol {SUBPROTOCOL} is required"})
            return
        await serve(scope, receive, send, credential(scope, offered))


async def serve(scope: Scope, receive: Receive, send: Send, given: tuple[str, str] | None) -> None:
    context: Context = scope["app"].state.context
    wire: Wire = scope["extensions"][EXTENSION]
    session = Session(wire, context, given)
    wire.attach(session)
    context.hub.add(session)
    try:
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
        while (message := await receive())["type"] != "websocket.disconnect":
            # Frames that came with the handshake, before there was a session to take them.
            session.receive((message.get("text") or "").encode())
    finally:
        if session.open:
            context.presence.leave(session.id, session.user_id)
        context.hub.remove(session)


def credential(scope: Scope, offered: list[str]) -> tuple[str, str] | None:
    """`chat.v1, bearer, <token>` and `chat.v1, t.<ticket>` are for browsers, the header is for everybody else."""
    for number, name in enumerate(offered):
        if name == "bearer" and number + 1 < len(offered):
            return "token", offered[number + 1]
        if name.startswith("t."):
            return "ticket", name[2:]
    for header, value in scope["headers"]:
        if header == b"authorization" and (match := _BEARER.fullmatch(value.decode("latin-1"))):
            return "token", match[1]
    return _kept(scope)


def _kept(scope: Scope) -> tuple[str, str] | None:
    """The cookie of a browser, if it says that a page of ours opens the socket: a foreign page could open one too."""
    headers = Headers(scope=scope)
    found = cookies.values(headers.getlist("cookie"), ACCESS_COOKIE)
    if len(found) != 1:
        return None
    try:
        own = csrf.from_own_page(headers, scope["app"].state.settings.own_origins)
    except CrossSite:
        return None
    return ("token", found.pop()) if own else None
