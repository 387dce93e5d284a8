"""What other services may ask."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from auth_service.deps import Tools
from auth_service.domain import api_tokens, revocations, users
from libs.auth import CallingService
from libs.contracts.accounts import ActiveRevocations, ApiTokenAsked, ApiTokenFacts, ProfilePage
from libs.deps import Db

router = APIRouter(prefix="/internal", include_in_schema=False)
_MOST_PROFILES = 500


@router.get("/users")
async def read_profiles(
    db: Db, _service: CallingService, user_ids: Annotated[list[UUID], Query(alias="id", max_length=_MOST_PROFILES)]
) -> ProfilePage:
    """Profiles by `?id=..&id=..`; unknown ids are left out."""
    return ProfilePage(users=await users.profiles(db, user_ids))


@router.get("/revocations")
async def read_revocations(kit: Tools, _service: CallingService) -> ActiveRevocations:
    """Everything that a service which trusts nothing must know before it accepts a token."""
    active = await revocations.active(kit.database, kit.clock)
    return ActiveRevocations(sessions=active.sessions, users=active.users, everyone=active.everyone)


@router.post("/api-tokens")
async def resolve_api_token(body: ApiTokenAsked, kit: Tools, _service: CallingService) -> ApiTokenFacts:
    """Whose token it is and what it may do, for services that were given it."""
    return await api_tokens.facts(kit.database, body.token, now=kit.clock.now())
