"""What a member sets for himself alone."""

from uuid import UUID

from fastapi import APIRouter

from chat_service.deps import Hub
from chat_service.domain import preferences
from chat_service.schemas.preferences import Preferences, PreferencesNow
from libs.auth import CurrentUser
from libs.deps import Db, Now

router = APIRouter(prefix="/api/v1/conversations", tags=["members"])


@router.patch("/{conversation_id}/me")
async def change_preferences(
    conversation_id: UUID, body: Preferences, me: CurrentUser, db: Db, *, clock: Now, hub: Hub
) -> PreferencesNow:
    """Mutes a conversation, or says what of it is worth a notification; for the caller alone."""
    wanted = body.model_dump(exclude_unset=True)
    now_set = await preferences.change(db, hub, me.user_id, conversation_id, wanted=wanted, now=clock.now())
    return PreferencesNow.model_validate(now_set)
