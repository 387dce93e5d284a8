"""Refusals that come in floods: the audit log tells of them, and does not grow with somebody's patience.

Of what concerns one account in one way within an hour the first is told, the tenth, the hundredth and so on, each with
how many there were; and of one network twenty such rows, for whoever tries many names. The metrics count each. A name
that nobody has is counted like an account, with as many statements: by none of this can it be told from one.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import audit, quotas
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.kit import Kit

_WINDOW = timedelta(hours=1)
_ROWS_OF_A_NETWORK = 20


async def record(db: AsyncSession, entry: Entry, client: Client, *, of: str, now: datetime) -> None:
    """`of` names the account, or what somebody took for one."""
    count = await quotas.count(db, f"audit:{entry.action}:{entry.reason}:{of}", window=_WINDOW, now=now)
    if _is_told(count) and await _has_room(db, client, now):
        await audit.record(db, replace(entry, data={**entry.data, "attempts": count}), client, now=now)
    else:
        audit.count(entry)


async def record_alone(kit: Kit, entry: Entry, client: Client, *, of: str) -> None:
    """In a transaction of its own: the error that follows undoes the request's."""
    async with kit.database.transaction() as db:
        await record(db, entry, client, of=of, now=kit.clock.now())


def _is_told(count: int) -> bool:
    return str(count).rstrip("0") == "1"


async def _has_room(db: AsyncSession, client: Client, now: datetime) -> bool:
    return await quotas.allows(db, f"audit:@{client.network}", most=_ROWS_OF_A_NETWORK, window=_WINDOW, now=now)
