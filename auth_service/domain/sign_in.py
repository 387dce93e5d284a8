"""Signing in with a name and a password."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import (
    admission,
    audit,
    devices,
    floods,
    messages,
    passwords,
    quotas,
    shortcut,
    throttles,
    users,
)
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.hashing import Verdict
from auth_service.domain.identifiers import Name
from auth_service.domain.kit import Kit
from auth_service.domain.sessions import Opening
from auth_service.domain.throttles import Counter
from auth_service.domain.tokens import Pair
from auth_service.errors import ChallengeRequired, CountryBlocked, EmailNotVerified, InvalidCredentials, MfaRequired
from libs.errors import RateLimited, ServiceError

_DAY = timedelta(days=1)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Attempt:
    """Somebody who claims a name. `who` names the account in the counters, or the name that nobody has."""

    name: Name | None
    client: Client
    user_id: UUID | None = None
    hash: str | None = None
    device_id: UUID | None = None
    until: datetime | None = None
    suspicious: bool = False

    @property
    def who(self) -> str | None:
        return throttles.subject(self.user_id, _digest(self.name)) if self.name else None

    def counters(self, now: datetime) -> list[Counter]:
        """What a failure counts in."""
        if self.device_id is not None:
            return [throttles.device(self.device_id)]
        counters = [throttles.network(self.client, now)]
        if self.who is not None:
            counters += [throttles.account(self.who), throttles.place(self.who, self.client)]
        return counters


async def with_password(
    kit: Kit, name: Name | None, password: str, client: Client, *, family: str = "canonical", cookie: bool = False
) -> Pair:
    """Raises InvalidCredentials, at the same cost, whatever of the two was wrong, and after failures RateLimited and
    ChallengeRequired, whether or not the name is anybody's."""
    attempt = await _look(kit, name, client)
    wait = throttles.seconds_until(attempt.until, kit.clock.now())
    if not wait:
        await _require_solution(kit, attempt)
    # Who must wait costs a hash too: the time would tell whether the password was looked at.
    verdict = await kit.hasher.verify(None if wait else attempt.hash, password)
    if wait:
        await _throttle(kit, attempt)
        raise RateLimited(wait)
    if attempt.user_id is None or not verdict.matches:
        await _fail(kit, attempt)
        raise InvalidCredentials
    opening = Opening(amr=["pwd"], family=family, cookie=cookie, device_id=attempt.device_id)
    pair = None
    if attempt.hash is not None and verdict.upgraded is None:
        pair = await shortcut.begin(kit, attempt.user_id, attempt.hash, opening, client=client)
    return pair or await _at_length(kit, attempt, verdict, opening)


async def _at_length(kit: Kit, attempt: _Attempt, verdict: Verdict, opening: Opening) -> Pair:
    try:
        async with kit.database.transaction() as db:
            return await _begin(db, kit, attempt, verdict, opening=opening)
    except InvalidCredentials:
        # A suspended account is slowed down like any other, or its owner's password could be told by that.
        await _fail(kit, attempt)
        raise
    except RateLimited:
        await _throttle(kit, attempt)
        raise
    except (CountryBlocked, EmailNotVerified, MfaRequired) as refusal:
        await _record(kit, attempt, refusal)
        raise


# Whose name it is, what proves it, whether the device is known and how long to wait: one round trip for every sign-in,
# over before the hashing begins. A queue of sign-ins must not hold every connection.
_LOOK = f"""
    SELECT who.user_id, p.hash, d.id AS device_id,
        CASE WHEN d.id IS NULL THEN greatest(account.until, place.until, network.until) END AS until,
        d.id IS NULL AND (
            coalesce(account.failures >= {throttles.FREE_PER_ACCOUNT}, false)
            OR coalesce(place.failures >= {throttles.FREE_PER_PLACE}, false)
            OR coalesce(network.failures >= {throttles.FREE_PER_NETWORK}, false)
        ) AS suspicious
    FROM (
        SELECT found.user_id, 'password:' || coalesce(found.user_id::text, $3) AS key FROM (
            SELECT (SELECT user_id FROM identifiers WHERE value_norm = $1 AND kind = $2) AS user_id
        ) AS found
    ) AS who
    LEFT JOIN passwords AS p ON p.user_id = who.user_id
    LEFT JOIN devices AS d ON d.user_id = who.user_id AND d.hash = $4
    LEFT JOIN throttles AS account ON account.key = who.key
    LEFT JOIN throttles AS place ON place.key = who.key || $5
    LEFT JOIN throttles AS network ON network.key = $6
"""  # noqa: S608


async def _look(kit: Kit, name: Name | None, client: Client) -> _Attempt:
    (row,) = await kit.lanes.fetch(_LOOK, *_looked_for(name, client, kit.clock.now()))
    return _Attempt(name, client, row["user_id"], row["hash"], row["device_id"], row["until"], row["suspicious"])


def _looked_for(name: Name | None, client: Client, now: datetime) -> tuple[object, ...]:
    return (
        name.norm if name else "",
        name.kind if name else "",
        throttles.subject(None, _digest(name)),
        devices.digest(client.device_token),
        f"@{client.network}",
        throttles.network(client, now).key,
    )


async def _require_solution(kit: Kit, attempt: _Attempt) -> None:
    """Raises ChallengeRequired, before the password costs us anything."""
    if kit.challenge is None or not attempt.suspicious:
        return
    now, who = kit.clock.now(), attempt.who or ""
    if attempt.client.solution is not None:
        # Committed at once: a solution is used up whether or not the password is right.
        async with kit.database.transaction() as db:
            if await kit.challenge.solved(db, attempt.client.solution, who, now):
                return
    raise ChallengeRequired(kit.challenge.ask(who, now))


async def _begin(db: AsyncSession, kit: Kit, attempt: _Attempt, verdict: Verdict, *, opening: Opening) -> Pair:
    now = kit.clock.now()
    # The password may have been changed while the old one was being checked, and of a thousand guesses at once all but
    # the first few come too late. In turn, or the change would miss the session that begins here.
    if attempt.user_id is not None:
        await users.take_turn(db, attempt.user_id)
    connection = await db.connection()
    row = (await connection.exec_driver_sql(_LOOK, _looked_for(attempt.name, attempt.client, now))).one()
    if row.user_id != attempt.user_id or row.hash != attempt.hash:
        raise InvalidCredentials
    if wait := throttles.seconds_until(row.until, now):
        raise RateLimited(wait)
    if verdict.upgraded:
        await passwords.upgrade(db, row.user_id, old=row.hash, new=verdict.upgraded)
    return await admission.admit(db, kit, row.user_id, opening, client=attempt.client)


async def _fail(kit: Kit, attempt: _Attempt) -> None:
    """Counts, in a transaction of its own: the refusal that follows must not undo it."""
    now = kit.clock.now()
    async with kit.database.transaction() as db:
        failures = await throttles.fail(db, attempt.counters(now), now=now)
        await audit.record(db, _refused(attempt, InvalidCredentials.code), attempt.client, now=now)
        if attempt.device_id is not None and max(failures.values()) >= throttles.DEVICE_TRIES:
            await devices.drop(db, attempt.device_id)
        if attempt.who and failures.get(throttles.account(attempt.who).key, 0) >= throttles.MOST_IN_A_ROW:
            await _tell_attacked(db, kit, attempt)
    log.info("sign_in_refused", known=attempt.user_id is not None)


async def _throttle(kit: Kit, attempt: _Attempt) -> None:
    entry = _refused(attempt, RateLimited.code)
    await floods.record_alone(kit, entry, attempt.client, of=attempt.who or "")
    log.info("sign_in_throttled", known=attempt.user_id is not None)


async def _tell_attacked(db: AsyncSession, kit: Kit, attempt: _Attempt) -> None:
    """Once a day: from now on only devices that the account knows can sign in to it with a password."""
    user = await users.find(db, attempt.user_id) if attempt.user_id else None
    if user is None or user.status != "active":
        return
    if await quotas.allows(db, f"attacked:{user.id}", most=1, window=_DAY, now=kit.clock.now()):
        await messages.mail(db, kit, user, "password_attacked")


async def _record(kit: Kit, attempt: _Attempt, refusal: ServiceError) -> None:
    entry = _refused(attempt, refusal.code)
    await audit.record_alone(kit.database, entry, attempt.client, now=kit.clock.now())


def _refused(attempt: _Attempt, reason: str) -> Entry:
    return Entry(action="sign_in.refused", result="refused", reason=reason, subject_id=attempt.user_id)


def _digest(name: Name | None) -> str:
    return hashlib.sha256(name.norm.encode()).hexdigest() if name else ""
