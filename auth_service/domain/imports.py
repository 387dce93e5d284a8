"""Accounts from elsewhere, with the hashes of their passwords: their owners sign in as they always did."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import accounts, audit, hashing, identifiers, users
from auth_service.domain.accounts import Registration, Standing
from auth_service.domain.audit import Entry
from auth_service.domain.clients import NOBODY
from auth_service.domain.identifiers import Name
from auth_service.domain.kit import Kit
from auth_service.domain.roles import Staff
from auth_service.errors import NotAllowed, Taken
from libs import outbox
from libs.contracts.accounts import UserRegistered
from libs.errors import FieldError, Invalid


@dataclass(frozen=True, slots=True)
class Imported:
    """One account as it came. A hash of None: its owner signs in by other ways, or asks for a new password."""

    username: str | None = None
    email: str | None = None
    phone_number: str | None = None
    password_hash: str | None = None
    email_verified: bool = False
    phone_verified: bool = False
    first_name: str = ""
    last_name: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`errors` say why a row was not taken: as a request of its own it would have been refused with them."""

    status: Literal["created", "duplicate", "refused"]
    user_id: UUID | None = None
    errors: Sequence[FieldError] = ()


async def add(db: AsyncSession, kit: Kit, row: Imported, *, staff: Staff | None) -> Outcome:
    """An account that has one of the names is left as it is."""
    try:
        new = _registration(row)
        _require_hash(row.password_hash)
        async with db.begin_nested():
            return Outcome("created", await _create(db, kit, new, row, staff=staff))
    except Taken as taken:
        return Outcome("duplicate", errors=taken.errors)
    except Invalid as invalid:
        return Outcome("refused", errors=invalid.errors)


async def import_all(kit: Kit, rows: Sequence[tuple[int, Imported | Invalid]]) -> str:
    """For the command line: a transaction each, so that what was taken stays when the rest is not."""
    counts: Counter[str] = Counter()
    told = []
    for number, row in rows:
        if isinstance(row, Invalid):
            outcome = Outcome("refused", errors=row.errors)
        else:
            async with kit.database.transaction() as db:
                outcome = await add(db, kit, row, staff=None)
        counts[outcome.status] += 1
        told += [f"line {number}: {error.field}: {error.message}" for error in outcome.errors]
    total = f"{counts['created']} created, {counts['duplicate']} duplicates, {counts['refused']} refused"
    return "\n".join([*told, total])


async def _create(db: AsyncSession, kit: Kit, new: Registration, row: Imported, *, staff: Staff | None) -> UUID:
    now = kit.clock.now()
    standing = Standing(email_verified=row.email_verified, phone_verified=row.phone_verified)
    user = await accounts.create(db, new, row.password_hash, now=now, standing=standing)
    await outbox.add(db, UserRegistered(profile=users.profile(user)), now)
    entry = staff.entry("user.imported", user.id) if staff else Entry(action="user.imported", subject_id=user.id)
    await audit.record(db, entry, staff.client if staff else NOBODY, now=now)
    return user.id


def _registration(row: Imported) -> Registration:
    if row.email is None and row.phone_number is None and row.username is None:
        raise NotAllowed("email", "Give an e-mail address, a phone number or a username.")
    return Registration(
        username=_name(row.username, identifiers.username),
        email=_name(row.email, identifiers.email),
        phone=_name(row.phone_number, identifiers.phone),
        first_name=row.first_name,
        last_name=row.last_name,
    )


def _name(given: str | None, read: Callable[[str], Name]) -> Name | None:
    return read(given) if given is not None else None


def _require_hash(stored: str | None) -> None:
    """A hash says itself how expensive it is to check: beyond a bound nobody could sign in, nor anybody else."""
    if stored is not None and not hashing.is_acceptable(stored):
        message = "Use argon2 (at most 1 GiB, 10 rounds, 16 lanes) or bcrypt (at most 2^15) as their programs write it."
        raise NotAllowed("password_hash", message)
