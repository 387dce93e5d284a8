"""Passkeys: setting them up, signing in with them, and keeping them in order."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import case, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import ceremonies, relying_party, users
from auth_service.domain.kit import Kit
from auth_service.domain.relying_party import Asserted, Created, Known, Person
from auth_service.errors import InvalidPasskey, PasskeyCloned, TooManyPasskeys
from auth_service.models import Passkey
from libs.errors import NotFound
from libs.ids import uuid7

REGISTER = "passkey.register"
SIGN_IN = "passkey.sign_in"
SECOND = "passkey.second"
REAUTH = "passkey.reauth"
MOST = 10
_CHALLENGE_BYTES = 32


@dataclass(frozen=True, slots=True)
class Asking:
    """What the browser is to be asked; its answer comes back with the id."""

    ceremony_id: UUID
    options: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the browser answered: `credential` as `PublicKeyCredential.toJSON()` makes it."""

    ceremony_id: UUID
    credential: Mapping[str, Any] = field(repr=False)
    transports: Sequence[str] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """A genuine answer, which counts once its sign count is kept."""

    passkey_id: UUID
    user_id: UUID
    shown: Asserted


async def ask_new(db: AsyncSession, kit: Kit, user_id: UUID) -> Asking:
    user = await users.myself(db, user_id)
    known = await _known(db, user_id)
    if len(known) >= MOST:
        raise TooManyPasskeys
    person = Person(user_id.bytes, user.email or user.username, user.display_name)
    challenge = secrets.token_bytes(_CHALLENGE_BYTES)
    ceremony_id = await _begin(db, kit, REGISTER, challenge, user_id=user_id)
    return Asking(ceremony_id, relying_party.creation_options(kit.relying_party, person, challenge, excluded=known))


async def ask(db: AsyncSession, kit: Kit, purpose: str, *, user_id: UUID | None = None) -> Asking:
    """Without a user the authenticator says who it is; the answer is the same whoever asks."""
    challenge = secrets.token_bytes(_CHALLENGE_BYTES)
    allowed = await _known(db, user_id) if user_id else []
    ceremony_id = await _begin(db, kit, purpose, challenge, user_id=user_id)
    return Asking(ceremony_id, relying_party.request_options(kit.relying_party, challenge, allowed=allowed))


async def read_new(kit: Kit, user_id: UUID, answer: Answer) -> Created:
    """Raises InvalidPasskey."""
    challenge = await _challenge(kit, REGISTER, answer, user_id=user_id)
    return relying_party.read_creation(kit.relying_party, answer.credential, challenge)


async def keep(db: AsyncSession, kit: Kit, user_id: UUID, made: Created, *, answer: Answer) -> Passkey:
    """Raises TooManyPasskeys, and InvalidPasskey for one that is known already, whoever has it."""
    await users.myself(db, user_id, lock=True)
    if await count(db, user_id) >= MOST:
        raise TooManyPasskeys
    row = {
        "id": uuid7(),
        "user_id": user_id,
        "credential_id": made.credential_id,
        "public_key": made.public_key,
        "sign_count": made.sign_count,
        "transports": relying_party.known_transports(answer.transports),
        "aaguid": made.aaguid,
        "backup_eligible": made.backup_eligible,
        "backed_up": made.backed_up,
        "name": answer.name,
        "created_at": kit.clock.now(),
    }
    new = insert(Passkey).values(row).on_conflict_do_nothing(index_elements=[Passkey.credential_id])
    passkey: Passkey | None = await db.scalar(new.returning(Passkey))
    if passkey is None:
        raise InvalidPasskey
    return passkey


async def check(kit: Kit, purpose: str, answer: Answer, *, user_id: UUID | None = None) -> Checked:
    """Raises InvalidPasskey unless a passkey (of this user, if one is named) has signed this very challenge."""
    challenge = await _challenge(kit, purpose, answer, user_id=user_id)
    credential_id = relying_party.decoded(answer.credential["id"])
    async with kit.database.transaction() as db:
        query = select(Passkey.id, Passkey.user_id, Passkey.public_key).where(Passkey.credential_id == credential_id)
        passkey = (await db.execute(query)).one_or_none()
    if passkey is None:
        raise InvalidPasskey
    shown = relying_party.read_assertion(kit.relying_party, answer.credential, challenge, public_key=passkey.public_key)
    handle = answer.credential["response"].get("userHandle")
    # An authenticator that was asked for certain credentials may leave the user out, one that chose for itself may not.
    named = relying_party.decoded(handle) if handle else (user_id.bytes if user_id else b"")
    if named != passkey.user_id.bytes or (user_id is not None and passkey.user_id != user_id):
        raise InvalidPasskey
    return Checked(passkey.id, passkey.user_id, shown)


async def use(db: AsyncSession, kit: Kit, checked: Checked) -> None:
    """Raises PasskeyCloned when the sign count has not grown: the key is in two places. Those that never count stay
    at zero."""
    shown = checked.shown.sign_count
    grown = or_(Passkey.sign_count < shown, case((Passkey.sign_count == 0, shown == 0), else_=False))
    values = {"sign_count": shown, "backed_up": checked.shown.backed_up, "last_used_at": kit.clock.now()}
    using = update(Passkey).where(Passkey.id == checked.passkey_id, grown).values(values)
    if await db.scalar(using.returning(Passkey.id)) is None:
        raise PasskeyCloned(checked.user_id)


async def owned(db: AsyncSession, user_id: UUID) -> list[Passkey]:
    """The oldest first; there are ten at most."""
    return list((await db.scalars(select(Passkey).where(Passkey.user_id == user_id).order_by(Passkey.id))).all())


async def rename(db: AsyncSession, user_id: UUID, passkey_id: UUID, name: str) -> Passkey:
    """Raises NotFound."""
    mine = Passkey.id == passkey_id, Passkey.user_id == user_id
    passkey: Passkey | None = await db.scalar(update(Passkey).where(*mine).values(name=name).returning(Passkey))
    if passkey is None:
        raise NotFound
    return passkey


async def remove(db: AsyncSession, user_id: UUID, passkey_id: UUID) -> None:
    """Raises NotFound."""
    removal = delete(Passkey).where(Passkey.id == passkey_id, Passkey.user_id == user_id)
    if await db.scalar(removal.returning(Passkey.id)) is None:
        raise NotFound


async def count(db: AsyncSession, user_id: UUID) -> int:
    return await db.scalar(select(func.count()).select_from(Passkey).where(Passkey.user_id == user_id)) or 0


async def _known(db: AsyncSession, user_id: UUID) -> list[Known]:
    query = select(Passkey.credential_id, Passkey.transports).where(Passkey.user_id == user_id).order_by(Passkey.id)
    return [Known(row.credential_id, row.transports) for row in await db.execute(query)]


async def _begin(db: AsyncSession, kit: Kit, purpose: str, challenge: bytes, *, user_id: UUID | None) -> UUID:
    data = {"challenge": challenge.hex()}
    return await ceremonies.begin(db, purpose, user_id=user_id, data=data, now=kit.clock.now())


async def _challenge(kit: Kit, purpose: str, answer: Answer, *, user_id: UUID | None) -> bytes:
    begun = await ceremonies.take(kit.database, answer.ceremony_id, purpose, user_id=user_id, now=kit.clock.now())
    if begun is None:
        raise InvalidPasskey
    return bytes.fromhex(begun.data["challenge"])
