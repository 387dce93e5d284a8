"""What the routes of auth get handed, beyond `libs.deps`."""

import ipaddress
import re
from typing import Annotated, cast

from fastapi import Depends, Request

from auth_service.domain import audit, roles, sessions, step_up, users
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.kit import Kit
from auth_service.domain.roles import Staff
from auth_service.domain.visibility import Viewer
from auth_service.errors import Impersonated
from libs.auth import Caller, CurrentUser
from libs.deps import Db
from libs.errors import Forbidden
from libs.keys import KeyRing

_COUNTRY = re.compile(r"[A-Z]{2}")
_USER_AGENT_CHARS = 256
_DEVICE_TOKEN_CHARS = 200
DEVICE_HEADER = "X-Device-Token"
SOLUTION_HEADER = "X-Challenge-Solution"
DEVICE_COOKIE = "__Host-device"


async def kit_of(request: Request) -> Kit:
    return cast(Kit, request.app.state.kit)


async def _ring(request: Request) -> KeyRing:
    return cast(KeyRing, request.app.state.ring)


async def client_of(request: Request) -> Client:
    host, port = request.client or ("", 0)
    agent = request.headers.get("user-agent", "")
    # The server puts the forwarded address, which has no port, in the place of a trusted proxy's own. So port 0 says
    # that a proxy we trust has spoken; a country from anybody else is only a claim.
    country = request.headers.get("x-client-country", "") if port == 0 else ""
    device = request.headers.get(DEVICE_HEADER) or request.cookies.get(DEVICE_COOKIE) or ""
    return Client(
        ip=_address(host),
        country=country if _COUNTRY.fullmatch(country) else None,
        user_agent="".join(c for c in agent if c.isprintable())[:_USER_AGENT_CHARS],
        device_token=device[:_DEVICE_TOKEN_CHARS] or None,
        solution=request.headers.get(SOLUTION_HEADER),
    )


def _address(host: str) -> str | None:
    try:
        # Without the zone of a link-local address, which PostgreSQL does not know.
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        return None


async def _require_recent(kit: Kit, caller: Caller) -> None:
    # A transaction of its own, over before the route begins: what follows may hash, and holds no connection meanwhile.
    async with kit.database.transaction() as db:
        issued_ms, now = caller.claims.iat_ms, kit.clock.now()
        await step_up.require_recent(db, caller.user_id, caller.session_id, issued_ms=issued_ms, now=now)


async def _confirmed(request: Request, caller: CurrentUser) -> Caller:
    await _require_recent(await kit_of(request), caller)
    return caller


async def _themselves(caller: CurrentUser) -> Caller:
    if caller.acting_id is not None:
        raise Impersonated
    return caller


async def _unbroken(caller: "Confirmed", db: Db) -> Caller:
    # In the transaction of the request, and the user first, as everybody locks them.
    await users.myself(db, caller.user_id, lock=True)
    await sessions.hold(db, caller.user_id, caller.session_id)
    return caller


async def _viewer(caller: CurrentUser) -> Viewer:
    return Viewer.of(caller.user_id, caller.roles)


Tools = Annotated[Kit, Depends(kit_of)]
Ring = Annotated[KeyRing, Depends(_ring)]
Device = Annotated[Client, Depends(client_of)]
# The caller, who has proved within the last five minutes who they are: for changes that a stolen session must not make.
Confirmed = Annotated[Caller, Depends(_confirmed)]
# And whose session cannot be signed out before that change is made: for what would outlive it.
Unbroken = Annotated[Caller, Depends(_unbroken)]
# The caller, who is no member of the staff in their place.
Themselves = Annotated[Caller, Depends(_themselves)]


class Permitted:
    """`Annotated[Staff, Depends(Permitted("users.read"))]`: a caller whose roles allow this; anybody else gets 403.

    The roles of a token are current, for a change of roles outdates it.
    """

    def __init__(self, permission: str) -> None:
        self.permission = permission

    async def __call__(self, caller: CurrentUser, kit: Tools, device: Device) -> Staff:
        if not roles.allows(caller.roles, self.permission):
            data = {"permission": self.permission}
            refused = Entry(action="permission.used", result="refused", actor_id=caller.user_id, data=data)
            await audit.record_alone(kit.database, refused, device, now=kit.clock.now())
            raise Forbidden
        return Staff(caller.user_id, caller.session_id, caller.roles, device)


class ConfirmedAnd(Permitted):
    """The same for what cannot be taken back: besides, the caller has proved within five minutes who they are."""

    async def __call__(self, caller: CurrentUser, kit: Tools, device: Device) -> Staff:
        staff = await super().__call__(caller, kit, device)
        await _require_recent(kit, caller)
        return staff


# The caller as somebody who looks at people.
Looking = Annotated[Viewer, Depends(_viewer)]
