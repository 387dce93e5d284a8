"""Where providers call: `/hooks/{provider}/{account}`. Their calls prove themselves; there are no tokens here."""

from typing import cast

from fastapi import APIRouter, Request, Response

from notify_service.deps import body_of
from notify_service.domain.channels.inbound import Hook
from notify_service.domain.hooks import Hooks

router = APIRouter(prefix="/hooks", include_in_schema=False)
_MOST_BYTES = 3 * 1024 * 1024


@router.get("/{provider}/{account}")
async def answer(provider: str, account: str, request: Request) -> Response:
    """Some providers ask first whether we are there."""
    return await _heard(provider, account, request)


@router.post("/{provider}/{account}")
async def hear(provider: str, account: str, request: Request) -> Response:
    """Answered once everything that was told is stored; a provider that hears nothing, or an error, tells it again."""
    return await _heard(provider, account, request)


async def _heard(provider: str, account: str, request: Request) -> Response:
    hook = Hook(
        method=request.method,
        url=_public_url(request),
        query=dict(request.query_params),
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in request.scope["headers"]},
        body=await body_of(request, _MOST_BYTES),
    )
    reply = await cast(Hooks, request.app.state.hooks).hear(provider, account, hook)
    if reply is not None:
        return Response(reply.content, media_type=reply.media_type)
    return Response(status_code=200)


def _public_url(request: Request) -> str:
    """As the caller wrote it, where somebody in front says so."""
    base: str | None = request.app.state.public_url
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return f"{base}{path}" if base else str(request.url)
