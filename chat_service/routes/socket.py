"""The door of `/ws`: takes the handshake, finds out what credential it brings, and hands the wire to a session."""

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from chat_service.domain.context import Context
from chat_service.domain.sessions import Session
from chat_service.routes import compat_sockets
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
        kind = _kind(scope) if scope["type"] == "websocket" else None
        if kind is None:
            await self._app(scope, receive, send)
            return
        await receive()
        if csrf.is_foreign(Headers(scope=scope), scope["app"].state.settings.own_origins):
            await _refuse(send, 403)
            return
        context: Context = scope["app"].state.context
        if context.hub.ungreeted[_address(scope)] >= context.ungreeted_per_address:
            # Many of its sockets are open and say nothing.
            await _refuse(send, 429, (b"retry-after", b"5"))
            return
        await serve(kind, scope, receive, send)


def _address(scope: Scope) -> str:
    """The client's, also behind a trusted proxy: the server puts the forwarded one in its place."""
    client = scope.get("client")
    return client[0] if client else ""


async def _refuse(send: Send, status: int, *more: tuple[bytes, bytes]) -> None:
    """Before there is a socket."""
    headers = [*more, (b"content-length", b"0")]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b""})


def _kind(scope: Scope) -> compat_sockets.Kind | None:
    """What is spoken there, to whoever knocks like this."""
    if scope["path"] in PATHS and SUBPROTOCOL in scope["subprotocols"]:
        return compat_sockets.Kind(Session, SUBPROTOCOL)
    return compat_sockets.kind(scope)


async def serve(kind: compat_sockets.Kind, scope: Scope, receive: Receive, send: Send) -> None:
    context: Context = scope["app"].state.context
    wire: Wire = scope["extensions"][EXTENSION]
    session = kind.make(wire, context, kind.credential or credential(scope, scope["subprotocols"]))
    session.address = _address(scope)
    wire.attach(session)
    context.hub.add(session)
    try:
        await send({"type": "websocket.accept", "subprotocol": kind.subprotocol})
        session.accepted()
        while (message := await receive())["type"] != "websocket.disconnect":
            # Frames that came with the handshake, before there was a session to take them.
            session.receive((message.get("text") or "").encode())
    finally:
        if session.open:
            context.presence.leave(session.id, session.user_id)
        context.watching.forget(session)
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
