"""Audiences: lists of recipients on one channel, filled by a file or piece by piece."""

import asyncio
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import IO, NamedTuple, cast
from uuid import UUID

import asyncpg
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    text,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncSession

from libs.errors import FieldError, Invalid, NotFound
from libs.ids import uuid7
from notify_service.domain import devices, profiles, reaching, sending
from notify_service.domain.campaign_states import UNDER_WAY
from notify_service.domain.channels import Provider
from notify_service.domain.channels.registry import CHANNELS, PROVIDERS
from notify_service.domain.profiles import Ask
from notify_service.domain.reaching import To
from notify_service.domain.recipient_files import MOST_COLUMNS, Table
from notify_service.domain.recipients import MOST_PROBLEMS, Given, Problem, Recipient, Sieve, checked, problem
from notify_service.errors import AudienceFull, AudienceInUse, UnusableFile
from notify_service.models import Audience, AudienceMember, AudienceProblem, Campaign, Profile

MOST_RECIPIENTS = 200_000
# As many go to the database together.
_CHUNK = 500
# As many are checked before others have their turn.
_BREATH = 50
_COLUMNS = ("audience_id", "position", "address", "user_id", "variables")


Visible = Select[Audience]
"""What somebody may see, as a query."""


class Report(NamedTuple):
    """The audience as it is now, and what was wrong with what was just given: the first thousand of it."""

    audience: Audience
    problems: Sequence[Problem]


def visible_to(user_id: UUID, *, everything: bool) -> Visible:
    """One's own; with `everything` those of all."""
    query = select(Audience)
    return query if everything else query.where(Audience.owner == str(user_id))


async def create(db: AsyncSession, *, owner: str, name: str, channel: str, now: datetime) -> Audience:
    """Raises Invalid."""
    if channel not in CHANNELS:
        raise Invalid(errors=[FieldError("channel", "There is no such channel.")])
    audience = Audience(id=uuid7(), owner=owner, name=name, channel=channel, created_at=now, updated_at=now)
    db.add(audience)
    await db.flush()
    return audience


async def page(db: AsyncSession, visible: Visible, *, before: UUID | None, limit: int) -> Sequence[Audience]:
    """Newest first, one more than `limit` if there are more."""
    query = visible.order_by(Audience.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(Audience.id < before)
    return (await db.scalars(query)).all()


async def one(db: AsyncSession, visible: Visible, audience_id: UUID) -> Audience:
    """Raises NotFound."""
    found = await db.scalar(visible.where(Audience.id == audience_id))
    if found is None:
        raise NotFound
    return found


async def remove(db: AsyncSession, visible: Visible, audience_id: UUID) -> None:
    """Raises NotFound, and AudienceInUse where a campaign has yet to go to it, or is on its way."""
    audience = await _held(db, visible, audience_id)
    used = select(Campaign.id).where(Campaign.audience_id == audience.id, Campaign.state.in_(UNDER_WAY)).limit(1)
    if await db.scalar(used) is not None:
        raise AudienceInUse
    await db.execute(delete(Audience).where(Audience.id == audience.id))


async def members(
    db: AsyncSession, audience: Audience, *, after: int, limit: int, address: str | None = None
) -> Sequence[AudienceMember]:
    """In their order, one more than `limit` if there are more. `address`: this one alone, in whatever form. Raises
    Invalid."""
    query = select(AudienceMember).where(AudienceMember.audience_id == audience.id)
    query = query.where(AudienceMember.position > _line(after)).order_by(AudienceMember.position).limit(limit + 1)
    if address is not None:
        wanted = sending.address_in(audience.channel, address)
        # The hash is what the index has, in just these words.
        hashed: ColumnElement[int] = literal_column("hashtextextended(audience_member.address, 0)")
        query = query.where(hashed == func.hashtextextended(wanted, 0), AudienceMember.address == wanted)
    return (await db.scalars(query)).all()


async def problems(
    db: AsyncSession, audience: Audience, *, after: tuple[int, str], limit: int
) -> Sequence[AudienceProblem]:
    """By their lines, one more than `limit` if there are more."""
    key = (AudienceProblem.line, AudienceProblem.field)
    query = select(AudienceProblem).where(AudienceProblem.audience_id == audience.id)
    query = query.where(tuple_(*key) > tuple_(_line(after[0]), after[1])).order_by(*key).limit(limit + 1)
    return (await db.scalars(query)).all()


def _line(number: int) -> ColumnElement[int]:
    """From a cursor, which may hold a greater one than there can be."""
    return literal(number, BigInteger)


async def replace(db: AsyncSession, visible: Visible, audience_id: UUID, *, file: IO[bytes], now: datetime) -> Report:
    """The rows of the file in the place of all that was there. Raises NotFound and UnusableFile."""
    table = Table(file)
    audience = await _held(db, visible, audience_id)
    for model in (AudienceMember, AudienceProblem):
        await db.execute(delete(model).where(model.audience_id == audience.id))
    sieve = Sieve()
    rows = table.rows()
    while chunk := await _checked(islice(rows, _CHUNK), audience.channel):
        await _write(db, audience.id, sieve.sift(chunk))
        if sieve.total > MOST_RECIPIENTS:
            raise UnusableFile(errors=[FieldError("lines", f"There are at most {MOST_RECIPIENTS} rows.")])
    audience.columns = table.columns
    audience.lines = table.line
    audience.total = audience.valid = audience.invalid = audience.duplicate = 0
    return await _reported(db, audience, sieve, now)


async def add(
    db: AsyncSession, visible: Visible, audience_id: UUID, *, to: Sequence[To], ask: Ask, now: datetime
) -> Report:
    """These besides those that are there. Raises NotFound, Invalid and AudienceFull."""
    audience = await one(db, visible, audience_id)
    to = reaching.named(to, _provider(audience))
    known = await profiles.find(db, [each.user_id for each in to if each.user_id], ask)
    audience = await _held(db, visible, audience_id)
    if audience.total + len(to) > MOST_RECIPIENTS:
        raise AudienceFull
    names = dict.fromkeys([*audience.columns, *(name for each in to for name in each.variables)])
    if len(names) > MOST_COLUMNS:
        raise Invalid(errors=[FieldError("to", f"An audience has at most {MOST_COLUMNS} variables.")])
    given = await _checked(_given(audience, to, known), audience.channel)
    sieve = Sieve(await _among(db, audience.id, [each.address for each in given if isinstance(each, Recipient)]))
    await _write(db, audience.id, sieve.sift(given))
    audience.columns = list(names)
    audience.lines += len(to)
    return await _reported(db, audience, sieve, now)


async def _checked(given: Iterator[Given], channel: str) -> list[Given]:
    found: list[Given] = []
    while some := [checked(each, channel) for each in islice(given, _BREATH)]:
        found += some
        await asyncio.sleep(0)
    return found


def _given(audience: Audience, to: Sequence[To], known: Mapping[UUID, Profile]) -> Iterator[Given]:
    provider = _provider(audience)
    for line, each in enumerate(to, audience.lines + 1):
        try:
            on_devices = each.user_id in known and audience.channel in devices.CHANNELS
            address = str(each.user_id) if on_devices else reaching.address_of(each, provider, known)
        except ValueError as error:
            yield problem(line, "user", "", code="no_address", message=str(error))
        else:
            yield Recipient(line, address, dict(each.variables), each.user_id)


def _provider(audience: Audience) -> Provider:
    return next(each for each in PROVIDERS.values() if each.capability.channel == audience.channel)


async def _held(db: AsyncSession, visible: Visible, audience_id: UUID) -> Audience:
    """Whoever else wants to change it waits. Raises NotFound."""
    return await one(db, visible.with_for_update(), audience_id)


async def _among(db: AsyncSession, audience_id: UUID, addresses: Collection[str]) -> Sequence[str]:
    """Which of these are in it."""
    query = text(
        """
        SELECT address FROM unnest(CAST(:addresses AS text[])) AS given(address) JOIN audience_member USING (address)
        WHERE audience_id = :audience
            AND hashtextextended(audience_member.address, 0) = hashtextextended(given.address, 0)
        """
    )
    return (await db.scalars(query, {"addresses": list(addresses), "audience": audience_id})).all()


async def _write(db: AsyncSession, audience_id: UUID, passed: Sequence[Recipient]) -> None:
    rows = [(audience_id, each.line, each.address, each.user_id, json.dumps(each.variables)) for each in passed]
    driver = (await (await db.connection()).get_raw_connection()).driver_connection
    await cast(asyncpg.Connection, driver).copy_records_to_table("audience_member", records=rows, columns=_COLUMNS)


async def _reported(db: AsyncSession, audience: Audience, sieve: Sieve, now: datetime) -> Report:
    """Adds up, and keeps what was wrong as long as there is room for it."""
    audience.total += sieve.total
    audience.valid += sieve.valid
    audience.invalid += sieve.invalid
    audience.duplicate += sieve.duplicate
    audience.state = "ready" if audience.valid else "failed" if audience.total else "open"
    audience.updated_at = now
    here = select(func.count()).where(AudienceProblem.audience_id == audience.id)
    room = MOST_PROBLEMS - (await db.scalar(here) or 0)
    rows = [{"audience_id": audience.id, **each._asdict()} for each in sieve.problems[:room]]
    if rows:
        await db.execute(insert(AudienceProblem), rows)
    return Report(audience, sieve.problems)
