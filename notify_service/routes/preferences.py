from collections.abc import Mapping

from fastapi import APIRouter

from libs.auth import CurrentUser
from libs.deps import Db, Now
from notify_service import schemas
from notify_service.domain import preferences

router = APIRouter(prefix="/api/v1/preferences", tags=["preferences"])


@router.get("")
async def read_preferences(db: Db, me: CurrentUser) -> schemas.Preferences:
    """Which mails you get."""
    return _shown(await preferences.of(db, me.user_id, "email"))


@router.patch("")
async def change_preferences(
    body: schemas.PreferencesUpdate, db: Db, me: CurrentUser, clock: Now
) -> schemas.Preferences:
    """Changes the switches that you name. It holds for mails that wait to be sent, too."""
    switches = dict(body.email.categories)
    if body.email.enabled is not None:
        switches[preferences.ALL] = body.email.enabled
    return _shown(await preferences.switch(db, me.user_id, "email", switches=switches, now=clock.now()))


def _shown(switches: Mapping[str, bool]) -> schemas.Preferences:
    categories = {category: enabled for category, enabled in sorted(switches.items()) if category != preferences.ALL}
    email = schemas.EmailPreferences(
        enabled=switches[preferences.ALL], categories=categories, always_sent=sorted(preferences.CRITICAL)
    )
    return schemas.Preferences(email=email)
