"""The doors of existing clients: which address speaks which of their protocols, and where they put their token."""

import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple
from urllib.parse import parse_qs
from uuid import UUID

from starlette.types import Scope

from chat_service.domain.compat_hub import HubSession
from chat_service.domain.compat_phone import BoundSession, PhoneSession
from chat_service.domain.compat_rooms_socket import RoomsSession
from chat_service.domain.connections import Wire
from chat_service.domain.context import Context
from chat_service.domain.sessions import Session
from libs import api_tokens

Credential = tuple[str, str] | None
_PATHS = re.compile(r"/ws(?:/(?:(?P<hub>messages)|chat/(?P<conversation>[^/]+)))?/?")
_MOST_TOKEN = 8192


class Kind(NamedTuple):
    make: Callable[[Wire, Context, Credential], Session]
    subprotocol: str | None
    credential: Credential = None
    """What the address holds."""


def kind(scope: Scope) -> Kind | None:
    """None: nothing is there. Phone speaks at the address of `chat.v1`, without naming a subprotocol."""
    match = _PATHS.fullmatch(scope["path"])
    if match is None:
        return None
    # A browser gives up when it offers names and none comes back.
    chosen = "bearer" if "bearer" in scope["subprotocols"] else None
    families = scope["app"].state.settings.existing_clients
    if match["hub"]:
        return Kind(HubSession, chosen, _in_query(scope)) if "hub" in families else None
    if match["conversation"] is None:
        return Kind(PhoneSession, chosen)
    conversation = _uuid(match["conversation"])
    if conversation is not None:
        return Kind(partial(BoundSession, conversation), chosen, _in_query(scope))
    if "rooms" not in families:
        return None
    return Kind(partial(RoomsSession, match["conversation"]), chosen, _in_query(scope))


def _in_query(scope: Scope) -> Credential:
    """Of these addresses alone. Never a token for programs: it lives too long to stand in an address."""
    try:
        found = parse_qs(scope["query_string"].decode(), max_num_fields=20).get("token", [])
    except ValueError:
        return None
    if len(found) != 1 or len(found[0]) > _MOST_TOKEN:
        return None
    return ("token", "" if found[0].startswith(api_tokens.PREFIX) else found[0])


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text) if len(text) == 36 else None
    except ValueError:
        return None
