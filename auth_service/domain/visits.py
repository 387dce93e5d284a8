"""A visit to a sign-in provider: begun by one browser, ended by the same one, once and soon.

The browser holds a secret in a cookie, and the visit its hash, so that a link which somebody else has prepared ends in
nobody's account. Coming back asks nobody anything: it swaps the provider's code for one of ours, which the page
redeems.
"""

import hashlib
import json
import re
import secrets
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import oauth
from auth_service.domain.kit import Kit
from auth_service.domain.oauth import Claimed, Grant, Visit
from auth_service.errors import NotAllowed, UnknownVisit
from auth_service.models import Ceremony
from libs.ids import uuid7

LIFETIME = timedelta(minutes=10)
_REDEEM_WITHIN = timedelta(minutes=2)
_SECRET_BYTES = 32
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
# What providers say, in our words: their texts come from elsewhere and are shown nowhere.
_ERRORS = {
    "access_denied": "access_denied",
    "user_denied": "access_denied",
    "user_cancelled_authorize": "access_denied",
    "server_error": "provider_failed",
    "temporarily_unavailable": "provider_failed",
}


@dataclass(frozen=True, slots=True)
class Begun:
    authorization_url: str
    browser: str
    """The secret that the browser keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComingBack:
    """What a provider's redirect carries."""

    state: str | None = None
    code: str | None = None
    error: str | None = None
    iss: str | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class _Step:
    """`visit:..` until the browser is back, `ticket:..` until the page has redeemed our code."""

    id: UUID
    purpose: str
    user_id: UUID | None
    hash: bytes
    data: dict[str, Any]


def require_return(kit: Kit, return_to: str, field: str = "return_to") -> None:
    """Raises NotAllowed for every page but those that the deployment names, compared as texts."""
    if return_to not in kit.providers.return_urls:
        raise NotAllowed(field, "This address is not among those that one may return to.")


async def begin(
    kit: Kit, name: str, return_to: str, *, browser: str | None = None, user_id: UUID | None = None
) -> Begun:
    """With `user_id` to link, otherwise to sign in. Raises NotFound, NotAllowed or ProviderFailed."""
    provider = kit.providers.get(name)
    require_return(kit, return_to)
    # A browser that is on several visits, in several tabs, keeps one secret for all.
    browser = browser if browser and _SECRET.fullmatch(browser) else secrets.token_urlsafe(_SECRET_BYTES)
    visit_id = uuid7()
    visit = Visit(
        redirect_uri=kit.providers.callback(name),
        state=str(visit_id),
        nonce=secrets.token_urlsafe(_SECRET_BYTES),
        verifier=secrets.token_urlsafe(_SECRET_BYTES),
    )
    url = await oauth.in_time(provider.config, provider.authorization_url(visit))
    data = {
        "provider": name,
        "nonce": visit.nonce,
        "verifier": _seal(kit, visit.verifier, visit_id),
        "return_to": return_to,
    }
    async with kit.database.transaction() as db:
        purpose = "visit:link" if user_id else "visit:sign_in"
        await _keep(db, kit, _Step(visit_id, purpose, user_id, _digest(browser), data), LIFETIME)
    return Begun(url, browser)


async def come_back(kit: Kit, name: str, answer: ComingBack, browser: str | None) -> str:
    """Where the browser goes next: to its page, with a code or an error in the fragment. Raises UnknownVisit."""
    async with kit.database.transaction() as db:
        visit = await _use(db, kit, "visit", answer.state, digest=_digest(browser or ""))
        if visit.data["provider"] != name:
            raise UnknownVisit
        return_to: str = visit.data["return_to"]
        if answer.error is not None or not answer.code:
            error = _ERRORS.get(answer.error or "", "provider_refused")
            return f"{return_to}#{urlencode({'error': error})}"
        ticket = secrets.token_urlsafe(_SECRET_BYTES)
        ticket_id = uuid7()
        data = {
            "provider": name,
            # All that came from outside is sealed, so that whatever is in it can be stored.
            "grant": _seal(kit, json.dumps(_grant(kit, visit, answer)), ticket_id),
        }
        purpose = visit.purpose.replace("visit:", "ticket:")
        digest = _digest(f"{browser}.{ticket}")
        await _keep(db, kit, _Step(ticket_id, purpose, visit.user_id, digest, data), _REDEEM_WITHIN)
    return f"{return_to}#{urlencode({'code': f'{ticket_id}.{ticket}'})}"


async def redeem(kit: Kit, code: str, browser: str | None, *, user_id: UUID | None = None) -> Claimed:
    """Whom the provider named. Raises UnknownVisit also when the code was used, in another browser, or for another
    user than it was begun for; ProviderRefused; ProviderFailed."""
    ticket_id, _, ticket = code.partition(".")
    async with kit.database.transaction() as db:
        found = await _use(db, kit, "ticket", ticket_id, digest=_digest(f"{browser}.{ticket}"), user_id=user_id)
    name = found.data["provider"]
    given = json.loads(_open(kit, found.data["grant"], found.id))
    provider = kit.providers.get(name)
    grant = Grant(redirect_uri=kit.providers.callback(name), **given)
    return await oauth.in_time(provider.config, provider.identify(grant))


def _grant(kit: Kit, visit: Ceremony, answer: ComingBack) -> dict[str, str | None]:
    return {
        "code": answer.code,
        "verifier": _open(kit, visit.data["verifier"], visit.id),
        "nonce": visit.data["nonce"],
        "iss": answer.iss,
        "profile": answer.user,
    }


async def _keep(db: AsyncSession, kit: Kit, step: _Step, lifetime: timedelta) -> None:
    now = kit.clock.now()
    await db.execute(insert(Ceremony).values({**asdict(step), "created_at": now, "expires_at": now + lifetime}))


async def _use(
    db: AsyncSession, kit: Kit, stage: str, given: str | None, *, digest: bytes, user_id: UUID | None = None
) -> Ceremony:
    """Of two uses one succeeds; a stranger's try uses nothing up."""
    now = kit.clock.now()
    try:
        ceremony_id = UUID(given or "")
    except ValueError:
        raise UnknownVisit from None
    using = update(Ceremony).where(
        Ceremony.id == ceremony_id,
        Ceremony.hash == digest,
        Ceremony.purpose.in_((f"{stage}:sign_in", f"{stage}:link")),
        Ceremony.used_at.is_(None),
        Ceremony.expires_at > now,
    )
    if stage == "ticket":
        using = using.where(Ceremony.user_id == user_id if user_id else Ceremony.user_id.is_(None))
    found = (await db.scalars(using.values(used_at=now).returning(Ceremony))).one_or_none()
    if found is None:
        raise UnknownVisit
    return found


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _seal(kit: Kit, text: str, ceremony_id: UUID) -> str:
    return kit.cipher.encrypt(text, f"visit:{ceremony_id}")


def _open(kit: Kit, sealed: str, ceremony_id: UUID) -> str:
    return kit.cipher.decrypt(sealed, f"visit:{ceremony_id}")
