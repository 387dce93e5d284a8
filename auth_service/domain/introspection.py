"""What a token is worth right now (RFC 7662), and ending it by showing it (RFC 7009)."""

from contextlib import suppress
from datetime import datetime
from uuid import UUID

from auth_service.domain import api_tokens, sessions
from auth_service.domain.clients import Client
from auth_service.domain.kit import Kit
from auth_service.domain.sessions import Ending
from auth_service.errors import InvalidRefreshToken
from auth_service.models import Session, User
from libs.api_tokens import PREFIX
from libs.errors import NotFound, Unauthenticated, WrongTokenType
from libs.tokens import Claims, Verifier

_SHOWN = ("iss", "aud", "sub", "sid", "jti", "iat", "nbf", "exp", "roles", "amr", "aal", "act")


def of_access_token(claims: Claims) -> dict[str, object]:
    """For claims that were checked, as those of any request."""
    return {"token_type": "Bearer", **{name: claims.values[name] for name in _SHOWN if name in claims.values}}


async def of_api_token(kit: Kit, token: str) -> dict[str, object] | None:
    found = await api_tokens.facts(kit.database, token, now=kit.clock.now())
    if not found.active:
        return None
    told = {"token_type": "Bearer", "sub": str(found.user_id), "jti": str(found.token_id)}
    return {**told, "exp": found.exp, "roles": found.roles, "scope": " ".join(found.scopes)}


async def of_refresh_token(kit: Kit, token: str) -> dict[str, object] | None:
    """Only the last one of its session is worth anything. Looking is no use: it rotates nothing and is no reuse."""
    try:
        presented = kit.mint.refresh.read(token)
    except (InvalidRefreshToken, WrongTokenType):
        return None
    async with kit.database.transaction() as db:
        session = await sessions.genuine(db, kit, presented)
        if session is None or session.counter != presented.counter:
            return None
        owner = await db.get_one(User, session.user_id)
        if owner.status != "active" or not _runs(session, kit.clock.now()):
            return None
    ends = min(session.idle_expires_at, session.expires_at)
    return {"sub": str(session.user_id), "sid": str(session.id), "exp": int(ends.timestamp())}


def _runs(session: Session, now: datetime) -> bool:
    return session.revoked_at is None and now < session.idle_expires_at and now < session.expires_at


async def end(kit: Kit, verifier: Verifier, token: str, client: Client) -> None:
    """Ends what the token stands for: the session, or the API token. One that is worth nothing ends nothing."""
    if token.startswith(PREFIX):
        await api_tokens.end(kit, token, client)
        return
    await sessions.end_by_refresh_token(kit, token, client)
    with suppress(Unauthenticated, NotFound):
        claims = verifier.verify(token)
        await sessions.end(kit, UUID(claims.sid), UUID(claims.sub), Ending("sign_out", client))
