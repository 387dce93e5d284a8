"""Who has written to an account, and until when free text may answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from libs.errors import NotFound
from notify_service.domain.channels import Window
from notify_service.domain.channels.registry import PROVIDERS
from notify_service.models import Account, Thread


@dataclass(frozen=True, slots=True)
class Shown:
    thread: Thread
    closes_at: datetime | None
    """None: free text may always answer."""
    is_open: bool


async def page(
    db: AsyncSession, account: str, *, before: tuple[datetime, str] | None, limit: int, now: datetime
) -> Sequence[Shown]:
    """Who wrote last comes first; one more than `limit` if there are more. Raises NotFound."""
    found = await db.get(Account, account)
    if found is None:
        raise NotFound
    kind = PROVIDERS.get(found.provider)
    query = select(Thread).where(Thread.account == account)
    query = query.order_by(Thread.last_inbound_at.desc(), Thread.peer.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(tuple_(Thread.last_inbound_at, Thread.peer) < tuple_(*before))
    rows = (await db.scalars(query)).all()
    return [_shown(row, kind.capability.window if kind else None, now) for row in rows]


def _shown(thread: Thread, window: Window | None, now: datetime) -> Shown:
    if window is None:
        return Shown(thread, None, is_open=True)
    closes_at = thread.last_inbound_at + timedelta(hours=window.hours)
    return Shown(thread, closes_at, is_open=closes_at > now)
