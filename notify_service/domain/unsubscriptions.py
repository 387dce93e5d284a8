"""What the reader of a message wants, said by the link in it. Users switch their preferences, addresses are suppressed;
either way the sender sees it before the next message leaves.

A link is as good as its mail: whoever was given the mail may use it. So nothing here shows who the reader is, and what
somebody else has stopped, a provider or an administrator, is not started again.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from libs.errors import NotFound
from notify_service.domain import preferences, suppressions
from notify_service.domain.preferences import ALL
from notify_service.domain.suppressions import UNSUBSCRIBE, Entry
from notify_service.domain.unsubscribe_links import Reader
from notify_service.models import Profile


class Switch(NamedTuple):
    """A channel, and one of its categories or all (`*`)."""

    channel: str
    category: str


class Choice(NamedTuple):
    switch: Switch
    is_on: bool
    is_fixed: bool = False
    """Somebody else has said so, and the reader cannot change it here."""


async def choices(db: AsyncSession, reader: Reader, now: datetime) -> Sequence[Choice]:
    """Everything that this reader can choose, the channel of the link first. Each channel begins with all of it."""
    if isinstance(reader.who, UUID):
        return await _of_user(db, reader, reader.who)
    reasons = await suppressions.of(db, reader.channel, reader.who, now)
    categories = [ALL, *sorted({reader.category, *reasons} - {ALL})]
    return [
        Choice(Switch(reader.channel, each), each not in reasons, reasons.get(each, UNSUBSCRIBE) != UNSUBSCRIBE)
        for each in categories
    ]


async def change(
    db: AsyncSession, reader: Reader, wanted: Mapping[Switch, bool], now: datetime
) -> Mapping[Switch, bool]:
    """Sets what the reader can choose, and leaves everything else alone. Returns what was different before."""
    changed = {
        each.switch: wanted[each.switch]
        for each in await choices(db, reader, now)
        if wanted.get(each.switch, each.is_on) != each.is_on and not each.is_fixed
    }
    if isinstance(reader.who, UUID):
        for channel, group in groupby(sorted(changed), key=lambda switch: switch.channel):
            switches = {switch.category: changed[switch] for switch in group}
            await preferences.keep(db, reader.who, channel, switches=switches, now=now)
    else:
        ended = [each.category for each, is_on in changed.items() if not is_on]
        again = [each.category for each, is_on in changed.items() if is_on]
        entries = [Entry(reader.channel, reader.who, category, UNSUBSCRIBE) for category in ended]
        await suppressions.add(db, entries, now)
        await suppressions.lift(db, reader.channel, reader.who, again)
    return {switch: not is_on for switch, is_on in changed.items()}


async def language_of(db: AsyncSession, reader: Reader) -> str | None:
    """The tag that a user has chosen. Raises NotFound for a user who has gone: nothing of them is kept any more."""
    if not isinstance(reader.who, UUID):
        return None
    profile = await db.get(Profile, reader.who)
    if profile is None:
        raise NotFound
    return profile.language


async def _of_user(db: AsyncSession, reader: Reader, user_id: UUID) -> Sequence[Choice]:
    known = await preferences.of(db, user_id)
    named = {category for switches in known.values() for category in switches}
    categories = [ALL, *sorted({reader.category, *named} - {ALL})]
    channels = sorted(preferences.CHANNELS, key=lambda channel: channel != reader.channel)
    return [
        Choice(Switch(channel, category), known[channel].get(category, True))
        for channel in channels
        for category in categories
    ]
