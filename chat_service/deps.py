"""What the routes of chat are handed, beyond `libs.deps`."""

from functools import partial
from typing import Annotated, cast

from fastapi import Depends, Request

from chat_service.domain import context, hub, profiles
from libs import calls
from libs.http import InternalClient


async def _context(request: Request) -> context.Context:
    return cast(context.Context, request.app.state.context)


async def _hub(request: Request) -> hub.Hub:
    return (await _context(request)).hub


async def _ask(request: Request) -> profiles.Ask:
    return partial(calls.profiles, cast(InternalClient, request.app.state.auth))


Context = Annotated[context.Context, Depends(_context)]
Hub = Annotated[hub.Hub, Depends(_hub)]
AskAuth = Annotated[profiles.Ask, Depends(_ask)]
