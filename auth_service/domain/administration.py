"""What operators do on the command line. Each returns what to tell them."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from auth_service.domain import accounts, audit, chain, identifiers, revocations, users
from auth_service.domain.accounts import Registration, Standing
from auth_service.domain.audit import Entry
from auth_service.domain.clients import NOBODY
from auth_service.domain.key_turns import KEPT_SECONDS
from auth_service.domain.kit import Kit
from auth_service.errors import AuditBroken, NotAllowed
from libs import outbox
from libs.contracts import SERVICES
from libs.contracts.accounts import UserRegistered
from libs.keys import USER, Algorithm, KeyRing

Job = Callable[[Kit], Awaitable[str]]

DEMO_PASSWORD = "parley-demo-2026"  # noqa: S105
_DEMO_USERS = (("ada", "Ada", "Lovelace"), ("grace", "Grace", "Hopper"), ("alan", "Alan", "Turing"))


def rotate_keys(path: Path, owner: str, *, algorithm: Algorithm | None, only_new: bool) -> str:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        ring = KeyRing.create(path, algorithm or "HS256")
        return f"Made {path} with {ring.signing_key(USER).alg} keys."
    if only_new:
        return f"{path} exists; nothing was changed."
    if owner not in (USER, *SERVICES):
        raise NotAllowed("owner", f"Keys belong to {USER} or to a service: {', '.join(SERVICES)}.")
    ring = KeyRing(path)
    before = ring.signing_key(owner)
    if algorithm not in (None, before.alg):
        raise NotAllowed("algorithm", f"This ring has {before.alg} keys. Make a ring for {algorithm} in another file.")
    ring.rotate(owner, keep_seconds=KEPT_SECONDS)
    return f"Key {ring.signing_key(owner).kid} signs for {owner} now; {before.kid} is accepted for another day."


def revoke_key(path: Path, kid: str) -> str:
    ring = KeyRing(path)
    try:
        ring.revoke(kid, keep_seconds=KEPT_SECONDS)
    except LookupError:
        raise NotAllowed("revoke", f"{path} has no key {kid} that is in use.") from None
    return f"Key {kid} is refused from now on. {ring.signing_key(USER).kid} signs for {USER}."


def write_rings(path: Path, folder: Path) -> list[Path]:
    """A ring for each other service, in which of asymmetric keys only its own is private. Auth keeps the whole ring."""
    folder.mkdir(parents=True, exist_ok=True)
    ring = KeyRing(path)
    written = []
    for service in SERVICES:
        if service == "auth":
            continue
        target = folder / f"{service}.json"
        ring.write_for(service, target)
        written.append(target)
    return written


async def create_admin(kit: Kit, new: Registration) -> str:
    """An account that exists keeps its password and becomes an administrator."""
    assert new.email is not None  # noqa: S101  -- the command takes one
    async with kit.database.transaction() as db:
        owner = await identifiers.owner(db, new.email)
        user = await users.find(db, owner, lock=True) if owner else None
        if user is not None:
            if "admin" in user.roles:
                return f"{user.email} is an administrator already."
            now = kit.clock.now()
            user.roles = [*user.roles, "admin"]
            await users.save(db, user, now=now)
            # The worker announces it.
            await revocations.record_user(db, user.id, now=now)
            entry = Entry(action="roles.changed", subject_id=user.id, data={"after": user.roles, "by": "command line"})
            await audit.record(db, entry, NOBODY, now=now)
            return f"{user.email} is an administrator now."
    await kit.passwords.require(new.password, new.own_names)
    await _make(kit, new, Standing(roles=("user", "admin"), email_verified=True))
    return f"Made the administrator {new.email.value}."


async def verify_audit(kit: Kit) -> str:
    """Raises AuditBroken, which names the first bad row."""
    after = checked = 0
    while True:
        found = await chain.verify(kit.database, after=after)
        checked += found.checked
        if found.broken:
            raise AuditBroken(f"Row {found.broken.position} of the audit log is {found.broken.problem}.")
        if found.after is None:
            return f"{checked} rows are as they were sealed; the last is {found.end.position} {found.end.hash.hex()}."
        after = found.after


async def seed_demo(kit: Kit) -> str:
    made = []
    for username, first_name, last_name in _DEMO_USERS:
        email = identifiers.email(f"{username}@example.com")
        async with kit.database.transaction() as db:
            known = await identifiers.owner(db, email) is not None
        if not known:
            new = Registration(DEMO_PASSWORD, identifiers.username(username), email, None, first_name, last_name)
            await _make(kit, new, Standing(email_verified=True))
            made.append(email.value)
    return f"Made {', '.join(made)}." if made else "The demo users exist."


async def _make(kit: Kit, new: Registration, standing: Standing) -> None:
    password_hash = await kit.hasher.hash(new.password)
    async with kit.database.transaction() as db:
        now = kit.clock.now()
        user = await accounts.create(db, new, password_hash, now=now, standing=standing)
        await outbox.add(db, UserRegistered(profile=users.profile(user)), now)
