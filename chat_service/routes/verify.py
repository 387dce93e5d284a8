"""Proof that conversations are whole, for administrators."""

from uuid import UUID

from fastapi import APIRouter

from chat_service.deps import Context
from chat_service.domain import rights, verify
from chat_service.schemas.verify import Verdict
from libs.auth import CurrentUser
from libs.deps import Db

router = APIRouter(prefix="/api/v1/admin/chat/conversations", tags=["administration"])


@router.get("/{conversation_id}/verify")
async def verify_conversation(conversation_id: UUID, me: CurrentUser, db: Db, context: Context) -> Verdict:
    """Counts everything anew: numbers without holes, marks within bounds, counters and the cache like what is stored.

    For administrators. Nothing of what people wrote is in the answer.
    """
    rights.check_administrator(me.roles)
    return Verdict.model_validate(await verify.verify(db, context.recent, conversation_id))
