"""Who owns which prefix, and what holds below it. The longest prefix wins; a path below none of them does not exist.

The path is compared as bytes, exactly as it was sent and will be sent on. What the table holds is `policy.yaml` and a
deployment's own file, read by `policy_file`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from gateway.domain.country import Rules
from gateway.domain.load import Priority


class Owner(Enum):
    GATEWAY = "gateway"  # pages of our own
    AUTH = "auth"
    CHAT = "chat"
    SOCKET = "socket"  # chat again, where long-lived connections have processes of their own
    NOTIFY = "notify"


class Token(Enum):
    CHECKED = "checked"  # a token that is sent must be good, none is the service's business
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Route:
    """`limits` name the limits that count each call, `posts` those that count a POST to exactly this path as well."""

    prefix: bytes
    owner: Owner
    limits: tuple[str, ...] = ("ip", "user")
    token: Token = Token.CHECKED
    body: int | None = None  # None: the deployment's limit
    countries: Rules | None = None  # None: from anywhere
    sockets: bool = False
    posts: tuple[str, ...] = ()
    secret: bool = False  # what follows the prefix is a secret and is not logged
    strict: bool = False  # a GET with a body is refused: who reads the body and who does not would hear two requests
    priority: Priority = Priority.NORMAL

    @property
    def name(self) -> str:
        return self.prefix.decode()


# Paths without ids come again and again.
_REMEMBERED, _REMEMBERED_BYTES = 4096, 128


class Table:
    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = {route.prefix: route for route in routes}
        self._deepest = max((prefix.count(b"/") for prefix in self._routes), default=0)
        self._found: dict[bytes, Route | None] = {}

    def find(self, path: bytes) -> Route | None:
        """The route of the longest prefix that ends where a segment ends."""
        try:
            return self._found[path]
        except KeyError:
            pass
        route = self._look_up(path)
        if len(path) <= _REMEMBERED_BYTES:
            if len(self._found) >= _REMEMBERED:
                self._found.clear()
            self._found[path] = route
        return route

    def _look_up(self, path: bytes) -> Route | None:
        routes = self._routes
        end = self._end_of_segments(path)
        while end > 0:
            route = routes.get(path[:end])
            if route is not None:
                return route
            end = path.rfind(b"/", 0, end)
        return None

    def _end_of_segments(self, path: bytes) -> int:
        """Where the deepest prefix of any route could end; deeper segments need no look-up."""
        end = 0
        for _ in range(self._deepest):
            end = path.find(b"/", end + 1)
            if end == -1:
                return len(path)
        return end
