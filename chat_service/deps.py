"""What the routes of chat are handed, beyond `libs.deps`."""

from functools import partial
from typing import Annotated, Any, cast

from fastapi import Depends, Request

from chat_service.domain import compat_rooms, context, hub, profiles, rights
from libs import calls
from libs.auth import Caller, CurrentUser
from libs.deps import made
from libs.errors import Forbidden
from libs.http import InternalClient


async def _context(request: Request) -> context.Context:
    return cast(context.Context, request.app.state.context)


async def _hub(request: Request) -> hub.Hub:
    return (await _context(request)).hub


async def _ask(request: Request) -> profiles.Ask:
    return partial(calls.profiles, cast(InternalClient, request.app.state.auth))


async def _ask_numbers(request: Request) -> compat_rooms.AskNumbers:
    return partial(calls.profiles_by_number, cast(InternalClient, request.app.state.auth))


Context = Annotated[context.Context, Depends(_context)]
Hub = Annotated[hub.Hub, Depends(_hub)]
AskAuth = Annotated[profiles.Ask, Depends(_ask)]
AskNumbers = Annotated[compat_rooms.AskNumbers, Depends(_ask_numbers)]


class Links:
    """Who hears of a change, and who knows people that chat does not."""

    def __init__(self, hub: Hub, ask: AskAuth) -> None:
        self.hub = hub
        self.ask = ask


Outside = Annotated[Links, made(Links)]


async def _staff(me: CurrentUser) -> Caller:
    if not rights.is_staff(me.roles):
        raise Forbidden
    return me


Staff = Annotated[Caller, Depends(_staff)]


def limited(kind: str) -> Any:
    """For `dependencies=`: what one user may do so often of this kind. Raises Throttled."""

    async def check(me: CurrentUser, here: Context) -> None:
        here.people_allowed(kind, me.user_id)

    return Depends(check)
