"""Who owns which prefix, and what holds below it. The longest prefix wins; a path below none of them does not exist.

The path is compared as bytes, exactly as it was sent and will be sent on.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

MIB = 1 << 20


class Owner(Enum):
    GATEWAY = "gateway"  # pages of our own
    AUTH = "auth"
    CHAT = "chat"
    SOCKET = "socket"  # chat again, where long-lived connections have processes of their own
    NOTIFY = "notify"


class Check(Enum):
    TOKEN = "token"  # noqa: S105  -- a mode; a token that is sent must be good, none is the service's business
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Route:
    """`limits` name the limits that count each call, `posts` those that count a POST to exactly this path as well."""

    prefix: bytes
    owner: Owner
    limits: tuple[str, ...] = ("ip", "user")
    check: Check = Check.TOKEN
    body: int | None = None  # None: the deployment's limit
    country: bool = True
    sockets: bool = False
    posts: tuple[str, ...] = ()
    secret: bool = False  # what follows the prefix is a secret and is not logged

    @property
    def name(self) -> str:
        return self.prefix.decode()


def _below(owner: Owner, root: str, names: str) -> list[Route]:
    return [Route(f"{root}/{name}".encode(), owner) for name in names.split()]


def _signing_in(root: str, names: str, *limits: str) -> list[Route]:
    # A stale Authorization header or cookie must not keep anybody from signing in again, so it is not looked at.
    return [Route(f"{root}/{name}".encode(), Owner.AUTH, ("ip", *limits), Check.NONE) for name in names.split()]


ROUTES: tuple[Route, ...] = (
    *_below(Owner.AUTH, "/api/v1", "auth admin/auth"),
    Route(b"/api/v1/users", Owner.AUTH, posts=("register",)),
    *_below(Owner.AUTH, "/api", "auth users"),
    Route(b"/.well-known", Owner.AUTH, ("ip",), Check.NONE),
    *_signing_in("/api", "csrf-token"),
    *_signing_in("/api/v1/auth", "token login otp mfa/verify passkeys/login/verify providers/exchange", "login"),
    *_signing_in("/api/v1/auth", "mfa/code mfa/passkey/options passkeys/login providers revoke"),
    *_signing_in("/api/v1/auth", "register", "register"),
    *_signing_in("/api/v1/auth", "token/refresh refresh", "refresh"),
    *_signing_in("/api/v1/auth", "password/forgot password/reset", "recover"),
    *_signing_in("/api/v1/auth", "email/verify email/confirm email/undo phone/undo", "recover"),
    # One account must not keep the hashing busy that everybody's sign-in waits for.
    *(
        Route(path, Owner.AUTH, ("ip", "user", "costly"))
        for path in (
            b"/api/v1/auth/reauth",
            b"/api/v1/auth/mfa/totp",
            b"/api/v1/auth/mfa/recovery-codes",
            b"/api/v1/auth/passkeys/register",
            b"/api/v1/users/me/password",
        )
    ),
    # Below `email/verify`, and yet for who is signed in.
    Route(b"/api/v1/auth/email/verify/send", Owner.AUTH, ("ip", "user", "recover")),
    *_signing_in("/api/auth", "login", "login"),
    *_signing_in("/api/auth", "register", "register"),
    *_signing_in("/api/auth", "token/refresh refresh", "refresh"),
    # Here the slash tells two clients apart. The one without signs out by its refresh token, whatever else it brings.
    *_signing_in("/api/auth", "logout"),
    Route(b"/api/auth/logout/", Owner.AUTH),
    *_signing_in("/api/users", "login", "login"),
    *_signing_in("/api/users", "register", "register"),
    *_signing_in("/api/users", "token/refresh", "refresh"),
    *_below(
        Owner.CHAT,
        "/api/v1",
        "conversations messages interests contacts blocks search ws-tickets admin/chat",
    ),
    Route(b"/api/v1/attachments", Owner.CHAT, body=100 * MIB, posts=("upload",)),
    Route(b"/api/v1/stream", Owner.SOCKET),
    Route(b"/api/chat", Owner.CHAT),
    # The socket itself checks its token, wherever the client put it, and answers with close codes.
    Route(b"/ws", Owner.SOCKET, ("ip", "socket"), Check.NONE, sockets=True),
    *_below(
        Owner.NOTIFY,
        "/api/v1",
        "notifications deliveries campaigns templates recipients accounts channels preferences suppressions push"
        " admin/notify",
    ),
    Route(b"/api/communications", Owner.NOTIFY),
    # Providers and mail programs call from anywhere and bring no token of ours.
    Route(b"/hooks", Owner.NOTIFY, ("hooks",), Check.NONE, body=3 * MIB, country=False, secret=True),
    Route(b"/u", Owner.NOTIFY, ("ip",), Check.NONE, country=False, secret=True),
    *(
        Route(path, Owner.GATEWAY, ("ip",), Check.NONE)
        for path in (b"/api/v1/docs", b"/api/v1/redoc", b"/api/v1/openapi.json", b"/swagger")
    ),
    # Load balancers ask often, and must hear the truth from wherever they stand.
    *(Route(path, Owner.GATEWAY, (), Check.NONE, country=False) for path in (b"/health", b"/api/v1/health")),
)

_DEEPEST = max(route.prefix.count(b"/") for route in ROUTES)


class Table:
    def __init__(self, routes: Iterable[Route] = ROUTES) -> None:
        self._routes = {route.prefix: route for route in routes}

    def find(self, path: bytes) -> Route | None:
        """The route of the longest prefix that ends where a segment ends."""
        routes = self._routes
        end = _end_of_segments(path)
        while end > 0:
            route = routes.get(path[:end])
            if route is not None:
                return route
            end = path.rfind(b"/", 0, end)
        return None

    @property
    def limits(self) -> set[str]:
        return {name for route in self._routes.values() for name in (*route.limits, *route.posts)}


def _end_of_segments(path: bytes) -> int:
    """Where the deepest prefix of any route could end; deeper segments need no look-up."""
    end = 0
    for _ in range(_DEEPEST):
        end = path.find(b"/", end + 1)
        if end == -1:
            return len(path)
    return end
