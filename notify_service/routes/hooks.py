"""Where providers call: `/hooks/{provider}/{account}`. Their calls prove themselves; there are no tokens here.

Some ask first whether we are there (GET). What they tell (POST) is answered once all of it is stored; a provider that
hears nothing, or an error, tells it again.
"""

from typing import cast
from urllib.parse import parse_qsl

from fastapi import APIRouter
from starlette.types import Receive, Scope, Send

from libs.doors import Door
from libs.errors import PayloadTooLarge
from notify_service.domain.channels.inbound import Hook, Reply
from notify_service.domain.hooks import Hooks
from notify_service.errors import UploadBroken

_MOST_BYTES = 3 * 1024 * 1024


class _Hear:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = scope["query_string"].decode("latin-1")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        state = scope["app"].state
        hook = Hook(
            method=scope["method"],
            url=_public_url(scope, state.public_url, headers.get("host", ""), query),
            query=dict(parse_qsl(query, keep_blank_values=True)) if query else {},
            headers=headers,
            body=await _body(receive),
        )
        named = scope["path_params"]
        reply = await cast(Hooks, state.hooks).hear(named["provider"], named["account"], hook)
        await _answer(send, reply)


async def _body(receive: Receive) -> bytes:
    """Raises PayloadTooLarge, and UploadBroken for a caller who hangs up within it: half a body proves nothing."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise UploadBroken
        body += message.get("body", b"")
        if len(body) > _MOST_BYTES:
            raise PayloadTooLarge
        more = message.get("more_body", False)
    return body


async def _answer(send: Send, reply: Reply | None) -> None:
    content = reply.content if reply else b""
    headers = [(b"content-length", b"%d" % len(content))]
    if reply:
        headers.append((b"content-type", reply.media_type.encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _public_url(scope: Scope, base: str | None, host: str, query: str) -> str:
    """As the caller wrote it, where somebody in front says so."""
    path = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
    return f"{base}{path}" if base else f"{scope['scheme']}://{host}{path}"


router = APIRouter(routes=[Door("/hooks/{provider}/{account}", _Hear(), methods={"GET", "POST"})])
