from collections.abc import Mapping
from uuid import UUID

from fastapi import APIRouter

from libs.auth import CurrentUser
from libs.deps import Db, Now
from notify_service.domain import preferences, quiet
from notify_service.schemas.preferences import ChannelPreferences, Preferences, PreferencesUpdate, ShownQuietHours

router = APIRouter(prefix="/api/v1/preferences", tags=["preferences"])


@router.get("")
async def read_preferences(db: Db, me: CurrentUser) -> Preferences:
    """What you get, over which channels, and when you are left alone."""
    return await _shown(db, me.user_id)


@router.patch("")
async def change_preferences(body: PreferencesUpdate, db: Db, me: CurrentUser, clock: Now) -> Preferences:
    """Changes the switches that you name. It holds for what waits to be sent, too."""
    for channel in preferences.CHANNELS:
        given = getattr(body, channel)
        switches = dict(given.categories)
        if given.enabled is not None:
            switches[preferences.ALL] = given.enabled
        await preferences.switch(db, me.user_id, channel, switches=switches, now=clock.now())
    if "quiet_hours" in body.model_fields_set:
        hours = body.quiet_hours
        await quiet.set_hours(db, me.user_id, (hours.start, hours.end) if hours else None)
    return await _shown(db, me.user_id)


async def _shown(db: Db, user_id: UUID) -> Preferences:
    switches = await preferences.of(db, user_id)
    hours = await quiet.hours_of(db, user_id)
    shown = {channel: _channel(switches[channel]) for channel in preferences.CHANNELS}
    return Preferences(
        **shown,
        quiet_hours=ShownQuietHours(start=f"{hours.start:%H:%M}", end=f"{hours.end:%H:%M}", timezone=hours.timezone)
        if hours
        else None,
    )


def _channel(switches: Mapping[str, bool]) -> ChannelPreferences:
    categories = {category: enabled for category, enabled in sorted(switches.items()) if category != preferences.ALL}
    return ChannelPreferences(
        enabled=switches[preferences.ALL], categories=categories, always_sent=sorted(preferences.CRITICAL)
    )
