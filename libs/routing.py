"""Finds the route of a request without asking each in turn.

A service has up to 150 routes, and the framework matches one pattern after the other: for the last of them that takes
several times as long as all the rest of a simple request. The order of the routes still decides between two that match.
In one thing it differs: what cannot be done at `/messages/saved` is not done to a message of the id `saved`.
"""

from collections import defaultdict

from fastapi.routing import APIRoute, APIRouter
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Receive, Scope, Send


class Directory:
    """Stands before a router's own search, which goes on answering what is not found here: wrong methods, sockets,
    unknown paths. Knows the routes that the router has when this is made."""

    def __init__(self, router: APIRouter) -> None:
        self._router = router
        # By method and number of segments: a handful each, in the order of the router.
        self._alike: dict[tuple[str, int], list[APIRoute]] = defaultdict(list)
        self._fixed: dict[tuple[str, str], APIRoute] = {}
        # By path without parameters: what may be done there, which is not what may be done with an id.
        self._methods: dict[str, set[str]] = defaultdict(set)
        for route in router.routes:
            if isinstance(route, APIRoute):
                self._add(route)

    def _add(self, route: APIRoute) -> None:
        for method in route.methods or ():
            alike = self._alike[method, route.path.count("/")]
            alike.append(route)
            if not route.param_convertors:
                # Itself, or one with a parameter that comes before it.
                first = next(other for other in alike if other.path_regex.match(route.path))
                self._fixed[method, route.path] = first
                if first is route:
                    self._methods[route.path].add(method)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A trace is told by the router's own search which route was taken.
        if scope["type"] == "http" and "fastapi.telemetry" not in scope:
            route = self._find(scope)
            if route is not None:
                scope["router"] = self._router
                await route.handle(scope, receive, send)
                return
            if allowed := self._methods.get(scope["path"]):
                raise HTTPException(405, headers={"Allow": ", ".join(sorted(allowed))})
        await self._router.app(scope, receive, send)

    def _find(self, scope: Scope) -> APIRoute | None:
        method, path = scope["method"], scope["path"]
        route = self._fixed.get((method, path))
        if route is None and path in self._methods:
            return None
        for other in (route,) if route else self._alike.get((method, path.count("/")), ()):
            match, found = other.matches(scope)
            if match is Match.FULL:
                scope.update(found)
                return other
        return None
