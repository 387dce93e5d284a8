"""What the reader of a message wants, said by the link in it. Users switch their preferences, addresses are suppressed,
and of a user both: what is sent to their address, and not to them, ends as well. The sender sees it before the next
message leaves.

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
from notify_service.domain import happenings, preferences, suppressions
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
        return await _of_user(db, reader, reader.who, now)
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
    found = [each for each in await choices(db, reader, now) if each.switch in wanted and not each.is_fixed]
    changed = {each.switch: wanted[each.switch] for each in found if wanted[each.switch] != each.is_on}
    user_id = reader.who if isinstance(reader.who, UUID) else None
    address = reader.address if isinstance(reader.who, UUID) else reader.who
    if user_id is not None:
        for channel, group in groupby(sorted(changed), key=lambda switch: switch.channel):
            switches = {switch.category: changed[switch] for switch in group}
            await preferences.keep(db, user_id, channel, switches=switches, now=now)
    if address is not None:
        here = [each.switch for each in found if each.switch.channel == reader.channel]
        # Also where a user has switched it off before: then it ends for the address.
        ended = [switch.category for switch in here if not wanted[switch]]
        entries = [Entry(reader.channel, address, category, UNSUBSCRIBE, user_id) for category in ended]
        await suppressions.add(db, entries, now)
        again = [switch.category for switch in here if changed.get(switch)]
        await suppressions.lift(db, reader.channel, address, again)
    await _tell(db, reader, changed)
    return {switch: not is_on for switch, is_on in changed.items()}


async def language_of(db: AsyncSession, reader: Reader) -> str | None:
    """The tag that a user has chosen. Raises NotFound for a user who has gone: nothing of them is kept any more."""
    if not isinstance(reader.who, UUID):
        return None
    profile = await db.get(Profile, reader.who)
    if profile is None:
        raise NotFound
    return profile.language


async def _tell(db: AsyncSession, reader: Reader, changed: Mapping[Switch, bool]) -> None:
    """Says to endpoints what somebody wants no more, or again."""
    who = {"user" if isinstance(reader.who, UUID) else "address": str(reader.who), "reason": UNSUBSCRIBE}
    for is_on, event in ((False, "recipient.unsubscribed"), (True, "recipient.resubscribed")):
        said = [{**switch._asdict(), **who} for switch, each in changed.items() if each is is_on]
        await happenings.tell(db, event, *said)


async def _of_user(db: AsyncSession, reader: Reader, user_id: UUID, now: datetime) -> Sequence[Choice]:
    """On is what their preferences want, and what they have not ended for the address that the link came to."""
    known = await preferences.of(db, user_id)
    named = {category for switches in known.values() for category in switches}
    categories = [ALL, *sorted({reader.category, *named} - {ALL})]
    channels = sorted(preferences.CHANNELS, key=lambda channel: channel != reader.channel)
    reasons = await suppressions.of(db, reader.channel, reader.address, now) if reader.address else {}
    ended = {Switch(reader.channel, category) for category, reason in reasons.items() if reason == UNSUBSCRIBE}
    switches = [Switch(channel, category) for channel in channels for category in categories]
    return [Choice(each, known[each.channel].get(each.category, True) and each not in ended) for each in switches]
