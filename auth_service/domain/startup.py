"""Accounts that exist from the start: the first administrator, and people to try things with."""

from dataclasses import dataclass, field

import structlog
from sqlalchemy import text

from auth_service.domain import accounts, audit, identifiers, users
from auth_service.domain.accounts import Registration, Standing
from auth_service.domain.audit import Entry
from auth_service.domain.clients import NOBODY
from auth_service.domain.identifiers import Name
from auth_service.domain.kit import Kit
from auth_service.errors import NotAllowed
from libs import outbox
from libs.contracts.accounts import UserRegistered

# Of several processes that start at once one makes the accounts, and the others find them.
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(5071884)")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Founding:
    admin_phone: str | None = None
    admin_secret: str = field(default="", repr=False)
    demo_users: int = 0


async def prepare(kit: Kit, wanted: Founding) -> None:
    """Makes what is missing; changes nothing that is there."""
    if wanted.admin_phone is not None:
        log.info("first_administrator", outcome=await make_administrator(kit, wanted))
    for number in range(1, wanted.demo_users + 1):
        await _make_demo_user(kit, number)


async def make_administrator(kit: Kit, wanted: Founding) -> str:
    """Somebody with that phone is left alone, be it an administrator or not."""
    if wanted.admin_phone is None:
        raise NotAllowed("email", "Give an e-mail address, or set PROJECT_ADMIN_DETAIL.")
    phone = identifiers.phone(wanted.admin_phone)
    standing = Standing(roles=("user", "admin"), phone_verified=True)
    made = await _make(kit, phone, Registration(wanted.admin_secret, phone=phone), standing)
    return "made, to change the password at the first sign-in" if made else "there already"


async def _make_demo_user(kit: Kit, number: int) -> None:
    name = f"demo{number:02}"
    email = identifiers.email(f"{name}@example.com")
    # +1 202 555 01xx is kept for fiction.
    new = Registration(
        password=f"Parley-demo-{number:02}",
        username=identifiers.username(name),
        email=email,
        phone=identifiers.phone(f"+120255501{number:02}"),
        first_name="Demo",
        last_name=f"{number:02}",
    )
    await _make(kit, email, new, Standing(email_verified=True, phone_verified=True))


async def _make(kit: Kit, known_by: Name, new: Registration, standing: Standing) -> bool:
    async with kit.database.transaction() as db:
        if await identifiers.owner(db, known_by) is not None:
            return False
    password_hash = await kit.hasher.hash(new.password)
    async with kit.database.transaction() as db:
        await db.execute(_ONE_AT_A_TIME)
        if await identifiers.owner(db, known_by) is not None:
            return False
        now = kit.clock.now()
        user = await accounts.create(db, new, password_hash, now=now, standing=standing)
        # Its password stands in a file: until it is another one, the account has no rights beyond a user's.
        user.must_change_password = "admin" in standing.roles
        await outbox.add(db, UserRegistered(profile=users.profile(user)), now)
        entry = Entry(action="user.made_at_start", subject_id=user.id, data={"roles": list(standing.roles)})
        await audit.record(db, entry, NOBODY, now=now)
    return True
