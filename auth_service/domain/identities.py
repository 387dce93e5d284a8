"""Accounts elsewhere that somebody signs in with."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import audit, messages, users
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.kit import Kit
from auth_service.domain.oauth import Claimed
from auth_service.errors import IdentityTaken, InvalidCredentials, LastMethod
from auth_service.models import ExternalIdentity, User
from libs.errors import NotFound
from libs.ids import uuid7

# What opens an account without the identity in question. A reset by mail is not among them: who loses the mailbox too
# would lose the account.
_OTHER_WAYS = text(
    """
    SELECT EXISTS (SELECT FROM passwords WHERE user_id = :user)
        OR EXISTS (SELECT FROM passkeys WHERE user_id = :user)
        OR EXISTS (SELECT FROM identifiers WHERE user_id = :user AND kind = 'phone' AND verified_at IS NOT NULL)
        OR EXISTS (SELECT FROM identities WHERE user_id = :user AND id <> :identity)
    """
)
_TAKE_TURN = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")


async def of_user(db: AsyncSession, user_id: UUID) -> Sequence[ExternalIdentity]:
    query = select(ExternalIdentity).where(ExternalIdentity.user_id == user_id)
    return (await db.scalars(query.order_by(ExternalIdentity.id))).all()


async def take_turn(db: AsyncSession, claimed: Claimed) -> None:
    """Nobody else settles whose it is before this transaction ends."""
    await db.execute(_TAKE_TURN, {"key": f"{claimed.provider}:{claimed.subject}"})


async def owner(db: AsyncSession, kit: Kit, claimed: Claimed) -> UUID | None:
    """Whose it is, settled in turn. Known by the subject, never by an address."""
    await take_turn(db, claimed)
    wanted = ExternalIdentity.provider == claimed.provider, ExternalIdentity.subject == claimed.subject
    seen = update(ExternalIdentity).where(*wanted).values(email=claimed.email, last_used_at=kit.clock.now())
    found: UUID | None = await db.scalar(seen.returning(ExternalIdentity.user_id))
    return found


async def require(db: AsyncSession, claimed: Claimed, user_id: UUID) -> None:
    """Raises InvalidCredentials when somebody has just taken the identity away from the account, whose turn it is."""
    theirs = ExternalIdentity.provider == claimed.provider, ExternalIdentity.subject == claimed.subject
    if await db.scalar(select(ExternalIdentity.id).where(*theirs, ExternalIdentity.user_id == user_id)) is None:
        raise InvalidCredentials


async def add(db: AsyncSession, kit: Kit, user_id: UUID, claimed: Claimed, *, client: Client) -> UUID:
    now = kit.clock.now()
    row = {
        "id": uuid7(),
        "user_id": user_id,
        "provider": claimed.provider,
        "subject": claimed.subject,
        "email": claimed.email,
        "linked_at": now,
        "last_used_at": now,
    }
    added: UUID = (await db.execute(insert(ExternalIdentity).values(row).returning(ExternalIdentity.id))).scalar_one()
    entry = Entry(action="identity.linked", actor_id=user_id, subject_id=user_id, data={"provider": claimed.provider})
    await audit.record(db, entry, client, now=now)
    return added


async def link(db: AsyncSession, kit: Kit, user: User, claimed: Claimed, *, client: Client) -> ExternalIdentity:
    """To a locked account, whose owner is told. Linking the same one again changes nothing. Raises IdentityTaken."""
    owned_by = await owner(db, kit, claimed)
    if owned_by not in (None, user.id):
        raise IdentityTaken
    if owned_by is None:
        await add(db, kit, user.id, claimed, client=client)
        await messages.mail(db, kit, user, "identity_linked", variables=_named(kit, claimed.provider))
    wanted = ExternalIdentity.provider == claimed.provider, ExternalIdentity.subject == claimed.subject
    return (await db.scalars(select(ExternalIdentity).where(*wanted))).one()


async def unlink(db: AsyncSession, kit: Kit, user_id: UUID, identity_id: UUID, *, client: Client) -> None:
    """Raises NotFound, and LastMethod when the account could not be opened any more."""
    # Two at once must not each count on the other.
    user = await users.myself(db, user_id, lock=True)
    wanted = ExternalIdentity.id == identity_id, ExternalIdentity.user_id == user_id
    provider = await db.scalar(select(ExternalIdentity.provider).where(*wanted))
    if provider is None:
        raise NotFound
    if not (await db.execute(_OTHER_WAYS, {"user": user_id, "identity": identity_id})).scalar_one():
        raise LastMethod
    await db.execute(delete(ExternalIdentity).where(*wanted))
    entry = Entry(action="identity.unlinked", actor_id=user_id, subject_id=user_id, data={"provider": provider})
    await audit.record(db, entry, client, now=kit.clock.now())
    await messages.mail(db, kit, user, "identity_unlinked", variables=_named(kit, provider))


def _named(kit: Kit, provider: str) -> dict[str, str]:
    return {"provider": kit.providers.label(provider)}
