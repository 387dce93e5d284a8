"""Discord's webhook, and what shall happen to it."""

import json
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from deploy.sandbox import scripted
from deploy.sandbox.clocks import Advance
from deploy.sandbox.discord import INVALID_MOST, INVALID_WITHIN, Banned, Discord, Refused


class Standing(BaseModel):
    """Whether somebody has deleted the webhook, and after how many invalid requests its callers are banned."""

    model_config = ConfigDict(extra="forbid")

    deleted: bool = False
    invalid_most: int = Field(INVALID_MOST, ge=1)


async def execute(request: Request) -> Response:
    """`/webhooks/<id>/<token>?wait=true&thread_id=`: the message, or 204 without `wait`."""
    discord = discord_of(request)
    raw = await request.body()

    async def act() -> Response:
        try:
            discord.admit(request.path_params["webhook"])
            message = discord.post(_parsed(raw), request.query_params.get("thread_id"))
        except Banned:
            return HTMLResponse("<h1>Access denied</h1>", 429, {"Retry-After": str(int(INVALID_WITHIN))})
        except Refused as refusal:
            return _refuse(discord, refusal)
        if request.query_params.get("wait") != "true":
            return Response(status_code=204, headers=dict(discord.headers()))
        return JSONResponse(message, headers=dict(discord.headers()))

    def refuse(status: int, words: str) -> Response:
        return _refuse(discord, Refused(status, 0, words))

    answer = await scripted.struck(discord.faults, "default", act, refuse)
    discord.count_invalid(answer.status_code)
    return answer


async def set_standing(request: Request) -> Response:
    """See `Standing`."""
    standing = Standing.model_validate_json(await request.body())
    discord = discord_of(request)
    discord.deleted, discord.invalid_most = standing.deleted, standing.invalid_most
    return Response(status_code=204)


async def advance_clock(request: Request) -> Response:
    """Limits believe that so many seconds have passed."""
    discord_of(request).clock.advance(Advance.model_validate_json(await request.body()).seconds)
    return Response(status_code=204)


def routes() -> Sequence[Route]:
    return [
        Route("/discord/webhooks/{webhook:path}", execute, methods=["POST"]),
        Route("/discord/standing", set_standing, methods=["PUT"]),
        Route("/discord/clock", advance_clock, methods=["POST"]),
        *scripted.routes("/discord/faults", lambda request: discord_of(request).faults),
    ]


def discord_of(request: Request) -> Discord:
    found: Discord = request.app.state.discord
    return found


def _parsed(raw: bytes) -> object:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _refuse(discord: Discord, refusal: Refused) -> Response:
    headers = dict(discord.headers())
    if refusal.status == 429:
        pause = refusal.body.get("retry_after", 1)
        headers |= {"Retry-After": str(int(pause) + 1), "X-RateLimit-Scope": "user"}
    return JSONResponse(refusal.body, refusal.status, headers)
