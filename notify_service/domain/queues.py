"""What waits for each account, counted so that looking costs little, however much there is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.db import see_one_moment
from notify_service.domain import accounts, locks, quotas, recipient_quotas
from notify_service.domain.limits import ACCOUNT
from notify_service.domain.quotas import Standing
from notify_service.models import Account

MOST = 100_000
"""Of one account no more than so many are counted."""
_WAITING = text(
    """
    SELECT asked.account, found.lane, count(*) AS waiting, count(*) FILTER (WHERE found.state = 'retry') AS retrying
    FROM unnest(CAST(:accounts AS text[])) AS asked(account), LATERAL (
        SELECT lane, state FROM delivery WHERE account = asked.account AND state IN ('queued', 'retry')
        ORDER BY lane, queue, next_at LIMIT :most) AS found
    GROUP BY asked.account, found.lane
    """
)
# From the head of one line to the head of the next, as those who send do it. A line that is on hold is not late.
_HEADS = text(
    """
    WITH RECURSIVE head AS (
        (SELECT account, lane, queue, next_at FROM delivery WHERE state IN ('queued', 'retry')
         ORDER BY account, lane, queue, next_at LIMIT 1)
        UNION ALL
        SELECT next.* FROM head, LATERAL (
            SELECT account, lane, queue, next_at FROM delivery WHERE state IN ('queued', 'retry')
                AND (account, lane, queue) > (head.account, head.lane, head.queue)
            ORDER BY account, lane, queue, next_at LIMIT 1) AS next
    ),
    line AS (
        SELECT account, queue, next_at, EXISTS (
            SELECT FROM batch WHERE held AND id = CAST(nullif(split_part(queue, '/', 2), '') AS uuid)) AS held
        FROM head
    )
    SELECT account, count(DISTINCT queue) FILTER (WHERE held) AS held,
        greatest(0, extract(epoch FROM now() - min(next_at) FILTER (WHERE NOT held))) AS late
    FROM line GROUP BY account
    """
)
_FLYING = text(
    "SELECT account, count(*) AS flying FROM delivery WHERE state IN ('claimed', 'sending') GROUP BY account"
)
# At one moment: one that is claimed or put back meanwhile would be counted twice, or not at all.
_OPEN = text(
    """
    SELECT (SELECT count(*) FROM (
            SELECT FROM delivery WHERE account = :account AND state IN ('queued', 'retry')
            ORDER BY lane, queue, next_at LIMIT :most) AS waiting)
        + (SELECT count(*) FROM delivery WHERE account = :account AND state IN ('claimed', 'sending'))
        + (SELECT count(*) FROM (
            SELECT FROM digest JOIN delivery ON delivery.digest_id = digest.id AND delivery.state = 'collected'
            WHERE digest.account = :account LIMIT :most) AS collected)
    """
)


@dataclass(slots=True)
class Queue:
    """One account's."""

    account: Account
    state: str
    owned: bool
    """Whether a worker sends for it now; one that has nothing to do lets it go."""
    quota: Standing | None
    recipients: Standing | None
    """How many people may be written to first."""
    rate: float | None
    """Messages a second, at most."""
    waiting: dict[int, int] = field(default_factory=dict)
    """By lane."""
    retrying: int = 0
    in_flight: int = 0
    held: int = 0
    """Batches on hold."""
    late: float = 0.0
    """Seconds that the first of those due has waited for its turn."""

    @property
    def capped(self) -> bool:
        return sum(self.waiting.values()) >= MOST


async def standing(db: AsyncSession, now: datetime, *, most: int = MOST) -> Sequence[Queue]:
    """Of all accounts, by channel and rank. To be the first that its transaction does."""
    # A message whose end is written meanwhile is either in flight or back in the quota.
    await see_one_moment(db)
    query = select(Account).order_by(Account.channel, Account.rank, Account.name)
    rows = (await db.scalars(query)).all()
    owned = await locks.owned(db, [row.name for row in rows])
    found = {row.name: await _of(db, row, now, owned=row.name in owned) for row in rows}
    for row in await db.execute(_WAITING, {"accounts": list(found), "most": most}):
        found[row.account].waiting[row.lane] = row.waiting
        found[row.account].retrying += row.retrying
    await _look(db, found)
    return list(found.values())


async def waiting(db: AsyncSession, account: str) -> int:
    """How many are not at their end, counted as far as `MOST`."""
    count: int = (await db.execute(_OPEN, {"account": account, "most": MOST})).scalar_one()
    return count


async def _of(db: AsyncSession, account: Account, now: datetime, *, owned: bool) -> Queue:
    capability = accounts.able(account)
    limit = accounts.limit_of(account, capability) if capability else None
    pool = recipient_quotas.pool_of(account, capability) if capability else None
    left = await quotas.standing(db, account.name, limit=limit[0], hours=limit[1], now=now) if limit else None
    recipients = await recipient_quotas.standing(db, pool) if pool else None
    rates = [each.limit / each.seconds for each in capability.rates if each.scope == ACCOUNT] if capability else []
    rate = min((*rates, *([account.rate] if account.rate else [])), default=None)
    return Queue(account, accounts.state_of(account, now), owned, left, recipients, rate)


async def _look(db: AsyncSession, found: Mapping[str, Queue]) -> None:
    # What still lies there of accounts that are gone is nobody's queue.
    for row in await db.execute(_HEADS):
        if row.account in found:
            found[row.account].held, found[row.account].late = row.held, float(row.late or 0)
    for row in await db.execute(_FLYING):
        if row.account in found:
            found[row.account].in_flight = row.flying
