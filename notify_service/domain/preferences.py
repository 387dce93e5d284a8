"""Which messages a person wants. A switch is for a channel: one for all categories (`*`), one for each.

Off wins: a message goes out when neither the switch of its category nor the one for all is off. Critical categories
have no switch, for a code that does not arrive locks its owner out.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.db import one_of
from notify_service.domain import suppressions
from notify_service.errors import NotSwitchable, TooManyCategories
from notify_service.models import Preference

ALL = "*"
CRITICAL = frozenset({"security"})
# Those that reach a person. A channel to a program, or to a room, is nobody's to switch.
CHANNELS = ("email", "inapp", "push", "sms", "telegram", "webpush", "whatsapp")
# Shown to everybody; others appear once a user has a switch for them.
KNOWN = ("account", "mention", "message")
REASON = "preference"
_MOST = 50
_SWITCHED_OFF = select(Preference.user_id, Preference.category).where(
    Preference.channel == bindparam("channel"), one_of(Preference.user_id, "users"), ~Preference.enabled
)

Switched = frozenset[tuple[UUID, str]]


async def of(db: AsyncSession, user_id: UUID) -> dict[str, dict[str, bool]]:
    """All switches of a user, by channel, with the defaults of those that were never touched."""
    found = {channel: {ALL: True, **dict.fromkeys(KNOWN, True)} for channel in CHANNELS}
    query = select(Preference.channel, Preference.category, Preference.enabled).where(Preference.user_id == user_id)
    for channel, category, enabled in await db.execute(query):
        found.setdefault(channel, {})[category] = enabled
    return found


async def switch(db: AsyncSession, user_id: UUID, channel: str, *, switches: Mapping[str, bool], now: datetime) -> None:
    """Changes those named and no others; what is on again is so for the addresses that links of messages have ended.
    Raises NotSwitchable and TooManyCategories."""
    for category in switches:
        if category in CRITICAL:
            raise NotSwitchable(channel, category)
    if not switches:
        return
    if len({*(await of(db, user_id))[channel], *switches}) > _MOST:
        raise TooManyCategories(channel, _MOST)
    await keep(db, user_id, channel, switches=switches, now=now)
    await suppressions.lift_of(db, user_id, channel, [category for category, is_on in switches.items() if is_on])


async def keep(db: AsyncSession, user_id: UUID, channel: str, *, switches: Mapping[str, bool], now: datetime) -> None:
    """The same of categories that were sent to the user, however many: whoever wants no more can always say so."""
    statement = insert(Preference)
    changed = {"enabled": statement.excluded.enabled, "updated_at": now}
    keys = ["user_id", "channel", "category"]
    # Sorted: two requests of one user lock the rows in the same order.
    rows = [
        {"user_id": user_id, "channel": channel, "category": category, "enabled": enabled, "updated_at": now}
        for category, enabled in sorted(switches.items())
    ]
    await db.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), rows)


async def switched_off(db: AsyncSession, channel: str, users: Iterable[UUID]) -> Switched:
    """What these users do not want, for `allow`."""
    wanted: Sequence[UUID] = list(set(users))
    if not wanted:
        return frozenset()
    rows = await db.execute(_SWITCHED_OFF, {"channel": channel, "users": wanted})
    return frozenset((user_id, category) for user_id, category in rows)


def allow(off: Switched, user_id: UUID | None, category: str) -> bool:
    if user_id is None or category in CRITICAL:
        return True
    return (user_id, ALL) not in off and (user_id, category) not in off
