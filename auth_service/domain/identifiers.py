"""Names that people sign in with: usernames, e-mail addresses, phone numbers, each in one canonical form."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from sqlalchemy import delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.errors import EmailTaken, NotAllowed, PhoneTaken, Taken, UsernameTaken
from auth_service.models import Identifier

Kind = Literal["username", "email", "phone"]
FIELDS: dict[Kind, str] = {"username": "username", "email": "email", "phone": "phone_number"}
# ASCII after compatibility folding: letters of other scripts that look the same would let one person pose as another.
_USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,49}")
_TAKEN: dict[Kind, type[Taken]] = {"username": UsernameTaken, "email": EmailTaken, "phone": PhoneTaken}


@dataclass(frozen=True, slots=True)
class Name:
    """`value` is shown, `norm` is compared. The three kinds cannot collide: only one has an `@`, only one a `+`."""

    kind: Kind
    value: str
    norm: str


def username(given: str) -> Name:
    value = unicodedata.normalize("NFKC", given)
    if not _USERNAME.fullmatch(value):
        message = "Use 3 to 50 letters without accents, digits, dots, hyphens and underscores; begin with no sign."
        raise NotAllowed("username", message)
    return Name("username", value, value.casefold())


def email(given: str) -> Name:
    try:
        value = validate_email(given, check_deliverability=False).normalized
    except EmailNotValidError:
        raise NotAllowed("email", "Enter a valid email address.") from None
    return Name("email", value, unicodedata.normalize("NFKC", value).lower())


def phone(given: str) -> Name:
    """International form with a leading plus; there is no country to assume."""
    try:
        parsed = phonenumbers.parse(given, None)
    except phonenumbers.NumberParseException:
        parsed = None
    if parsed is None or not phonenumbers.is_possible_number(parsed):
        raise NotAllowed("phone_number", "Enter a phone number in international form, e.g. +12025550101.")
    value = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return Name("phone", value, value)


_READERS = {"username": username, "email": email, "phone": phone}


def known_as(given: str, kind: Kind | None = None) -> Name | None:
    """What somebody who signs in may mean; None for what cannot be anybody's name."""
    if kind is None:
        kind = "email" if "@" in given else "phone" if given.lstrip().startswith("+") else "username"
    try:
        return _READERS[kind](given)
    except NotAllowed:
        return None


async def claim(db: AsyncSession, user_id: UUID, name: Name, *, now: datetime, verified: bool = False) -> None:
    """Gives the name to the user, or raises Taken. Waits for a transaction that is claiming the same name."""
    row = {
        "user_id": user_id,
        "kind": name.kind,
        "value": name.value,
        "value_norm": name.norm,
        "verified_at": now if verified else None,
        "created_at": now,
    }
    insertion = insert(Identifier).values(row).on_conflict_do_nothing().returning(Identifier.user_id)
    if await db.scalar(insertion) is None:
        raise _TAKEN[name.kind](FIELDS[name.kind])


async def claim_numbered(db: AsyncSession, user_id: UUID, number: int, *, now: datetime) -> None:
    """`user<number>` for an account without a username. If somebody has chosen that name, another number is drawn."""
    while True:
        try:
            await claim(db, user_id, username(f"user{number}"), now=now)
        except UsernameTaken:
            draw = text("UPDATE users SET number = DEFAULT WHERE id = :id RETURNING number")
            number = (await db.execute(draw, {"id": user_id})).scalar_one()
        else:
            return


async def rename(db: AsyncSession, user_id: UUID, name: Name, *, now: datetime) -> None:
    """Changes the username, or raises UsernameTaken and leaves everything as it was."""
    unchanged = update(Identifier).where(
        Identifier.user_id == user_id, Identifier.kind == "username", Identifier.value_norm == name.norm
    )
    if await db.scalar(unchanged.values(value=name.value).returning(Identifier.user_id)):
        return
    await db.execute(delete(Identifier).where(Identifier.user_id == user_id, Identifier.kind == "username"))
    await claim(db, user_id, name, now=now)


async def owner(db: AsyncSession, name: Name) -> UUID | None:
    found: UUID | None = await db.scalar(select(Identifier.user_id).where(Identifier.value_norm == name.norm))
    return found


async def verify(db: AsyncSession, user_id: UUID, norm: str, *, now: datetime) -> bool:
    """Whether the user still has this address. It counts as verified from now on."""
    verification = update(Identifier).where(Identifier.user_id == user_id, Identifier.value_norm == norm)
    verified = await db.scalar(verification.values(verified_at=now).returning(Identifier.user_id))
    return verified is not None
