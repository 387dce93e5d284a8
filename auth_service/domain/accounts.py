"""Accounts: registering, confirming the e-mail address, and those that are made on the command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import Select, delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import (
    admission,
    audit,
    identifiers,
    links,
    names,
    password_reset,
    passwords,
    quotas,
    users,
    verification,
)
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.identifiers import Name
from auth_service.domain.kit import Kit
from auth_service.domain.sessions import Opening
from auth_service.domain.tokens import Pair
from auth_service.errors import EmailTaken, LinkSpent, NotAllowed, PhoneTaken
from auth_service.models import Identifier, Password, User
from libs import outbox
from libs.contracts.accounts import UserRegistered
from libs.db import even_out
from libs.ids import uuid7

_HOUR = timedelta(hours=1)
# Of a registration where nobody must see whether the address is known.
_STATEMENTS = 20

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Registration:
    password: str = field(default="", repr=False)
    username: Name | None = None
    email: Name | None = None
    phone: Name | None = None
    first_name: str = ""
    last_name: str = ""

    @property
    def own_names(self) -> list[str]:
        given = [name.norm for name in (self.username, self.email, self.phone) if name]
        return [name for name in [*given, self.first_name, self.last_name] if name]


@dataclass(frozen=True, slots=True)
class Standing:
    """How an account begins. Nobody chooses it over the API."""

    status: str = "active"
    roles: Sequence[str] = ("user",)
    email_verified: bool = False
    phone_verified: bool = False
    direct_messages: str = "everyone"

    @property
    def verified(self) -> Mapping[str, bool]:
        return {"email": self.email_verified, "phone": self.phone_verified}


_ORDINARY = Standing()


async def register(
    db: AsyncSession, kit: Kit, new: Registration, client: Client, *, family: str = "canonical"
) -> Pair | None:
    """Makes an account and signs it in. Raises Taken when a name belongs to somebody.

    Where addresses must be confirmed: None, whether or not the address was known, and nobody is signed in. The owner of
    a known one gets a mail. Only a taken username is said, for usernames are public.
    """
    await kit.passwords.require(new.password, new.own_names)
    # Before the first statement, so that no connection waits for it, and in every case, so that the time tells nothing.
    password_hash = await kit.hasher.hash(new.password)
    if kit.must_verify:
        known = await _known_hash(kit, new)
        await _register_unseen(db, kit, new, password_hash, known=known, client=client)
        return None
    user = await _create_and_tell(db, kit, new, password_hash, client=client)
    return await admission.begin(db, kit, user, Opening(amr=["pwd"], family=family), client=client)


async def open_account(db: AsyncSession, kit: Kit, new: Registration, client: Client) -> User:
    """Makes an account without signing it in, for clients that are told of a taken name. Raises Taken.

    Where addresses must be confirmed, it waits for that.
    """
    await kit.passwords.require(new.password, new.own_names)
    password_hash = await kit.hasher.hash(new.password)
    if not kit.must_verify:
        return await _create_and_tell(db, kit, new, password_hash, client=client)
    return await _create_pending(db, kit, new, password_hash, client=client)


async def confirm_email(db: AsyncSession, kit: Kit, token: str, client: Client) -> None:
    """Ends a registration that waits for this. Where the password is nobody's, a mail follows to choose one."""
    now = kit.clock.now()
    link = await links.consume(db, links.VERIFY_EMAIL, token, now=now)
    user = await users.find(db, link.user_id, lock=True)
    if user is None or not await identifiers.verify(db, user.id, link.target, now=now):
        raise LinkSpent
    await audit.record(db, _own("email.verified", user), client, now=now)
    if user.status != "pending":
        await users.save(db, user, now=now)
        return
    user.status = "active"
    user.updated_at = now
    await db.flush()
    await db.refresh(user, ["identifiers"])
    await outbox.add(db, UserRegistered(profile=users.profile(user)), now)
    if not await passwords.exists(db, user.id):
        await password_reset.send_to(db, kit, user, link.target, client=client)
    log.info("user_registered", user_id=str(user.id))


async def create(
    db: AsyncSession,
    new: Registration,
    password_hash: str | None,
    *,
    now: datetime,
    standing: Standing = _ORDINARY,
) -> User:
    """Raises Taken. Names are claimed in a fixed order, so that two registrations never wait for each other.

    Without a password its owner signs in by other ways.
    """
    user = User(
        id=uuid7(),
        status=standing.status,
        roles=list(standing.roles),
        first_name=new.first_name,
        last_name=new.last_name,
        bio="",
        language="en",
        timezone="UTC",
        direct_messages=standing.direct_messages,
        version=1,
        created_at=now,
        updated_at=now,
    )
    db.add(user)
    await db.flush()
    if new.username is None:
        await identifiers.claim_numbered(db, user.id, user.number, now=now)
    for name in (new.username, new.email, new.phone):
        if name is not None:
            verified = standing.verified.get(name.kind, False)
            await identifiers.claim(db, user.id, name, now=now, verified=verified)
    if password_hash is not None:
        await passwords.keep(db, user.id, password_hash, now=now)
    await db.refresh(user, ["number", "identifiers"])
    await names.keep(db, user)
    log.info("account_created", user_id=str(user.id), status=standing.status)
    return user


async def _create_and_tell(
    db: AsyncSession, kit: Kit, new: Registration, password_hash: str, *, client: Client
) -> User:
    user = await create(db, new, password_hash, now=kit.clock.now())
    await audit.record(db, _own("account.created", user), client, now=kit.clock.now())
    await outbox.add(db, UserRegistered(profile=users.profile(user)), kit.clock.now())
    if user.email is not None:
        await verification.send_link(db, kit, user)
    return user


async def _create_pending(
    db: AsyncSession, kit: Kit, new: Registration, password_hash: str | None, *, client: Client
) -> User:
    user = await create(db, new, password_hash, now=kit.clock.now(), standing=Standing(status="pending"))
    await audit.record(db, _own("account.created", user), client, now=kit.clock.now())
    await verification.send_link(db, kit, user)
    return user


def _own(action: str, user: User) -> Entry:
    return Entry(action=action, actor_id=user.id, subject_id=user.id)


async def _known_hash(kit: Kit, new: Registration) -> str | None:
    """The hash of a registration that waits for the same address, if it is of the same password."""
    async with kit.database.transaction() as db:
        waiting = await db.scalar(_waiting(new.email).with_only_columns(Password.hash))
    # With nothing stored it takes as long.
    verdict = await kit.hasher.verify(waiting, new.password)
    return waiting if verdict.matches else None


def _waiting(email: Name | None) -> Select[UUID, str]:
    """Registrations of an address that nobody has confirmed."""
    query = select(User.id, Password.hash).select_from(User).join(Identifier, Identifier.user_id == User.id)
    query = query.outerjoin(Password, Password.user_id == User.id)
    return query.where(User.status == "pending", Identifier.value_norm == (email.norm if email else ""))


async def _register_unseen(
    db: AsyncSession, kit: Kit, new: Registration, password_hash: str, *, known: str | None, client: Client
) -> None:
    if new.email is None:
        raise NotAllowed("email", "An e-mail address is required, for it must be confirmed.")
    # Who registers an address again takes the place of whoever did before, whose links are dead. Which of them reads
    # the mailbox shows only later: until then the password is nobody's, unless all of them chose the same.
    waiting = (await db.execute(_waiting(new.email).with_for_update(of=User))).one_or_none()
    is_contested = waiting is not None and (known is None or waiting.hash != known)
    if waiting is not None:
        await db.execute(delete(User).where(User.id == waiting.id).execution_options(synchronize_session=False))
    try:
        async with db.begin_nested():
            await _create_pending(db, kit, new, None if is_contested else password_hash, client=client)
    except (EmailTaken, PhoneTaken) as taken:
        await _tell_owner(db, kit, new, new.email if isinstance(taken, EmailTaken) else new.phone)
    await even_out(db, _STATEMENTS)
    db.info["events"] = True


async def _tell_owner(db: AsyncSession, kit: Kit, new: Registration, name: Name | None) -> None:
    owner_id = await identifiers.owner(db, name) if name else None
    owner = await users.find(db, owner_id) if owner_id else None
    if owner is None:
        return
    if owner.status == "pending":
        if name == new.email:
            # Somebody was faster by a moment.
            await passwords.void(db, owner.id)
        return
    if await quotas.allows(db, f"account_exists:{owner.id}", most=1, window=_HOUR, now=kit.clock.now()):
        await verification.send_account_exists(db, kit, owner)
