"""The calls that other services make to auth."""

from collections.abc import Sequence
from uuid import UUID

from libs.contracts.accounts import ActiveRevocations, ApiTokenFacts, Profile, ProfilePage
from libs.http import InternalClient
from libs.revocation import Active

_USERS_A_CALL = 100


async def active_revocations(auth: InternalClient) -> Active:
    answer = await auth.get("/internal/revocations", ActiveRevocations)
    return Active(sessions=answer.sessions, users=answer.users, everyone=answer.everyone)


async def api_token(auth: InternalClient, token: str) -> ApiTokenFacts:
    """In the body, for addresses are logged."""
    return await auth.post("/internal/api-tokens", ApiTokenFacts, {"token": token})


async def profiles(auth: InternalClient, user_ids: Sequence[UUID]) -> list[Profile]:
    """Those that exist, in no particular order."""
    found: list[Profile] = []
    for start in range(0, len(user_ids), _USERS_A_CALL):
        ids = [str(user_id) for user_id in user_ids[start : start + _USERS_A_CALL]]
        page = await auth.get("/internal/users", ProfilePage, {"id": ids})
        found += page.users
    return found
