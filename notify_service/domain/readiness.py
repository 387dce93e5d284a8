"""What is looked at for claimed rows before anything is made of them: what holds them back, for a while or for good."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from notify_service.domain import devices, preferences, quiet, recipient_quotas, suppressions, windows
from notify_service.domain.channels import Capability
from notify_service.domain.quiet import QuietHours
from notify_service.domain.recipient_quotas import RecipientQuota, Waiting
from notify_service.domain.turns import HIGH


@dataclass(frozen=True, slots=True)
class Looked:
    """Each row, by id, in one of `waits` (seconds and a reason), `ends` (a state and a reason), or free to go."""

    waits: Mapping[UUID, tuple[float, str]]
    ends: Mapping[UUID, tuple[str, str]]
    opened: frozenset[str]
    closed: frozenset[str]
    """Addresses that may be answered freely, and those to which no free text may go."""


async def look(
    db: AsyncSession,
    rows: Sequence[Row[Any]],
    *,
    account: str,
    capability: Capability,
    quota: RecipientQuota | None,
    now: datetime,
) -> Looked:
    users = [row.user_id for row in rows if row.user_id is not None]
    addresses = [row.address for row in rows]
    off = await preferences.switched_off(db, capability.channel, users)
    hours = await quiet.among(db, users) if capability.channel not in quiet.SILENT else {}
    theirs = await devices.held(db, capability.channel, users)
    found = await windows.among(db, account, capability.window, addresses=addresses, now=now)
    held_back = await suppressions.among(db, capability.channel, addresses, now, others=found.others)
    waits = {
        row.id: ((over - now).total_seconds(), quiet.REASON)
        for row in rows
        if (over := _quiet_until(row, hours, now)) is not None
    }
    ends = {
        row.id: ("expired" if row.expired else "suppressed", reason)
        for row in rows
        if row.id not in waits and (reason := _reason_not_to_send(row, off, held_back, theirs)) is not None
    }
    if quota is not None:
        going = [row for row in rows if row.id not in waits and row.id not in ends and row.address not in found.opened]
        late = await quota.late(db, [Waiting(row.id, row.lane, row.address) for row in going], now)
        waits |= {delivery: (seconds, recipient_quotas.REASON) for delivery, seconds in late.items()}
    return Looked(waits, ends, found.opened, found.closed)


def _quiet_until(row: Row[Any], hours: Mapping[UUID, QuietHours], now: datetime) -> datetime | None:
    """Until when its reader is left alone. What is urgent, and what is always sent, does not wait."""
    if row.user_id not in hours or row.lane == HIGH or row.category in preferences.CRITICAL or row.expired:
        return None
    return hours[row.user_id].until(now)


def _reason_not_to_send(
    row: Row[Any], off: preferences.Switched, held_back: suppressions.Found, theirs: devices.Held
) -> str | None:
    if row.expired:
        return "expired"
    if devices.is_gone(theirs, row.channel, row.user_id, row.address):
        return devices.GONE
    if row.category not in preferences.CRITICAL and suppressions.holds(held_back, row.address, row.category):
        return suppressions.REASON
    if not preferences.allow(off, row.user_id, row.category):
        return preferences.REASON
    return None
