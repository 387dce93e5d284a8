"""The calls that services make to one another."""

from collections.abc import Sequence
from uuid import UUID

from libs.contracts.accounts import ActiveRevocations, ApiTokenFacts, Profile, ProfilePage
from libs.contracts.notifications import ReadDone
from libs.contracts.usage import UsageBatch, UsageTaken
from libs.http import InternalClient
from libs.revocation import Active

_USERS_A_CALL = 100


async def active_revocations(auth: InternalClient) -> Active:
    answer = await auth.get("/internal/revocations", ActiveRevocations)
    return Active(sessions=answer.sessions, users=answer.users, everyone=answer.everyone)


async def api_token(auth: InternalClient, token: str) -> ApiTokenFacts:
    """In the body, for addresses are logged."""
    return await auth.post("/internal/api-tokens", ApiTokenFacts, {"token": token})


async def report_usage(auth: InternalClient, batch: UsageBatch) -> None:
    """May be repeated within a day: auth counts a batch once."""
    await auth.post("/internal/usage", UsageTaken, batch.model_dump(mode="json"))


async def profiles(auth: InternalClient, user_ids: Sequence[UUID]) -> list[Profile]:
    """Those that exist, in no particular order."""
    return await _profiles(auth, "id", [str(user_id) for user_id in user_ids])


async def profiles_by_number(auth: InternalClient, numbers: Sequence[int]) -> list[Profile]:
    """The same, by the numbers that clients without UUIDs know."""
    return await _profiles(auth, "number", [str(number) for number in numbers])


async def _profiles(auth: InternalClient, by: str, names: Sequence[str]) -> list[Profile]:
    found: list[Profile] = []
    for start in range(0, len(names), _USERS_A_CALL):
        page = await auth.get("/internal/users", ProfilePage, {by: names[start : start + _USERS_A_CALL]})
        found += page.users
    return found


async def read_notification(notify: InternalClient, user_id: UUID, notification_id: UUID) -> bool:
    """Whether the user has such a notification; it is marked as read."""
    body = {"user_id": str(user_id), "notification_id": str(notification_id)}
    return (await notify.post("/internal/notifications/read", ReadDone, body)).found
