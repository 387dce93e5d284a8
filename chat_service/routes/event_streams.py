"""The socket without a socket: events over an answer that does not end, frames by POST."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from starlette.types import Receive, Scope, Send

from chat_service.deps import Context
from chat_service.domain import context, event_streams, frames
from chat_service.domain.event_streams import EventWire
from chat_service.domain.following import Wanted
from chat_service.domain.sessions import Session
from chat_service.errors import StreamBusy, UnknownStreamConnection
from chat_service.routes.wire import HTTP
from chat_service.schemas.event_streams import Frames
from libs import api_tokens
from libs.auth import CurrentUser, credential

router = APIRouter(prefix="/api/v1/stream", tags=["sockets"])
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # Some proxies collect answers unless they are told not to.
    (b"x-accel-buffering", b"no"),
]
_POSITIONS = r"^[0-9a-f:@.,c-]*$"
# Of an event, not of the whole stream.
_EVENT = {"type": "object", "properties": {"data": {"type": "string"}, "id": {"type": "string"}}, "required": ["data"]}
_PUSHES = {"content": {"text/event-stream": {"schema": _EVENT}}, "description": "Pushes, a line of JSON in each event."}


class _Events(Response):
    """An answer that goes on until either side ends it."""

    media_type = "text/event-stream"

    def __init__(self, shared: context.Context, token: str, wanted: Wanted) -> None:
        super().__init__()
        self._context = shared
        self._token = token
        self._wanted = wanted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        protocol = scope["state"][HTTP]
        wire = EventWire(protocol.transport.abort)
        session = wire.session = protocol.session = Session(wire, self._context, ("token", self._token))
        hub = self._context.hub
        hub.add(session)
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        session.receive(event_streams.greeting(self._wanted))

        async def write(body: bytes) -> None:
            await send({"type": "http.response.body", "body": body, "more_body": True})

        writing, gone = asyncio.create_task(wire.run(write)), asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait((writing, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            protocol.session = None
            if session.open:
                self._context.presence.leave(session.id, session.user_id)
            self._context.watching.forget(session)
            hub.remove(session)
            writing.cancel()
            gone.cancel()
        if writing.done() and not writing.cancelled() and writing.exception() is None:
            await send({"type": "http.response.body", "body": b""})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _wanted(
    resume: Annotated[
        str, Query(max_length=32_768, pattern=_POSITIONS, description="`c:<id>@<epoch>.<q>,c:<id>,...`")
    ] = "",
    last_event_id: Annotated[str | None, Header(max_length=32_768)] = None,
) -> Wanted:
    return event_streams.parse_positions(resume if last_event_id is None else last_event_id)


@router.get("", response_class=Response, responses={200: _PUSHES})
async def open_stream(
    request: Request, me: CurrentUser, shared: Context, wanted: Annotated[Wanted, Depends(_wanted)]
) -> Any:
    """Server-sent events: what a socket is told, for clients that cannot have one; see `docs/protocol.md`."""
    if me.scopes is not None:
        api_tokens.require_both(me.scopes, "chat")
    return _Events(shared, credential(request.headers).token, wanted)


@router.post("/{stream_id}/frames", status_code=204, responses={404: {"description": "`unknown_stream_connection`"}})
async def send_frames(stream_id: str, body: Frames, me: CurrentUser, shared: Context) -> None:
    """Says something on an event stream of one's own, as over a socket; answers come over the stream."""
    if me.scopes is not None:
        api_tokens.require_both(me.scopes, "chat")
    session = shared.hub.session_of(me.user_id, stream_id)
    if session is None or not isinstance(session.wire, EventWire):
        raise UnknownStreamConnection
    if session.wire.held:
        raise StreamBusy(1)
    session.receive(b"\n".join(map(frames.dump, body.frames)))
