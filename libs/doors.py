"""Routes that need nothing of the framework and are let past it.

Its layers (exit stacks, dependencies, validation, a request and a response as objects) cost about 350 µs of CPU a call.
For most routes that is little beside what they do; for one that stores a few hundred bytes together with those of other
calls it is three quarters of everything.
"""

from collections.abc import Callable, Collection, Sequence

from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send


class Door(Route):
    """A route that is plain ASGI. `app`, an object and no function, bounds and reads the body by itself, finds what the
    path names in `scope["path_params"]`, and refuses by raising ServiceError as others do."""

    def __init__(self, path: str, app: ASGIApp, *, methods: Collection[str]) -> None:
        super().__init__(path, app, include_in_schema=False)
        # Asked of the head alone, a door has nothing to say: the framework would add that method by itself.
        self.methods = set(methods)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        return match, {**found, "route": self}


class Doors:
    """Stands before the framework, which goes on answering everything else: wrong methods and traced calls too."""

    def __init__(self, app: ASGIApp, doors: Sequence[Door], edge: Callable[[ASGIApp], ASGIApp]) -> None:
        self._app = app
        self._doors = [(door, edge(door.app)) for door in doors]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "fastapi.telemetry" not in scope:
            for door, app in self._doors:
                match, found = door.matches(scope)
                if match is Match.FULL:
                    scope.update(found)
                    await app(scope, receive, send)
                    return
        await self._app(scope, receive, send)
