"""What other services may ask."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field

from auth_service.deps import Tools
from auth_service.domain import api_tokens, revocations, usage, users
from libs.auth import CallingService
from libs.contracts.accounts import ActiveRevocations, ApiTokenAsked, ApiTokenFacts, ProfilePage
from libs.contracts.usage import UsageBatch, UsageTaken
from libs.deps import Db, Now
from libs.errors import FieldError, Invalid

router = APIRouter(prefix="/internal", include_in_schema=False)
_MOST_PROFILES = 500
Number = Annotated[int, Field(gt=0, lt=1 << 63)]


@router.get("/users")
async def read_profiles(
    db: Db,
    _service: CallingService,
    user_ids: Annotated[list[UUID], Query(alias="id", max_length=_MOST_PROFILES)] = (),  # type: ignore[assignment]
    numbers: Annotated[list[Number], Query(alias="number", max_length=_MOST_PROFILES)] = (),  # type: ignore[assignment]
) -> ProfilePage:
    """Profiles by `?id=..&id=..` or `?number=..&number=..`; those that do not exist are left out."""
    if not user_ids and not numbers:
        raise Invalid(errors=[FieldError("id", "This field is required.")])
    by_id = await users.profiles(db, user_ids) if user_ids else []
    by_number = await users.profiles_by_number(db, numbers) if numbers else []
    return ProfilePage(users=[*by_id, *by_number])


@router.get("/revocations")
async def read_revocations(kit: Tools, _service: CallingService) -> ActiveRevocations:
    """Everything that a service which trusts nothing must know before it accepts a token."""
    active = await revocations.active(kit.database, kit.clock)
    return ActiveRevocations(sessions=active.sessions, users=active.users, everyone=active.everyone)


@router.post("/api-tokens")
async def resolve_api_token(body: ApiTokenAsked, kit: Tools, _service: CallingService) -> ApiTokenFacts:
    """Whose token it is and what it may do, for services that were given it."""
    return await api_tokens.facts(kit.database, body.token, now=kit.clock.now())


@router.post("/usage")
async def add_usage(body: UsageBatch, _service: CallingService, db: Db, clock: Now) -> UsageTaken:
    """What the gateway has counted since it called last."""
    return UsageTaken(new=await usage.add(db, body, now=clock.now()))
