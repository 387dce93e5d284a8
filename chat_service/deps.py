"""What the routes of chat are handed, beyond `libs.deps`."""

from collections.abc import Sequence
from typing import Annotated, cast
from uuid import UUID

from fastapi import Depends, Request

from chat_service.domain import context, hub, profiles
from libs.contracts.accounts import Profile, ProfilePage
from libs.http import InternalClient

_AT_ONCE = 100


def _context(request: Request) -> context.Context:
    return cast(context.Context, request.app.state.context)


def _hub(request: Request) -> hub.Hub:
    return _context(request).hub


def _ask(request: Request) -> profiles.Ask:
    auth = cast(InternalClient, request.app.state.auth)

    async def ask(user_ids: Sequence[UUID]) -> list[Profile]:
        found: list[Profile] = []
        for start in range(0, len(user_ids), _AT_ONCE):
            ids = [str(user_id) for user_id in user_ids[start : start + _AT_ONCE]]
            page = ProfilePage.model_validate(await auth.get("/internal/users", params={"id": ids}))
            found += page.users
        return found

    return ask


Context = Annotated[context.Context, Depends(_context)]
Hub = Annotated[hub.Hub, Depends(_hub)]
AskAuth = Annotated[profiles.Ask, Depends(_ask)]
