"""People who know each other, as chat would have told."""

from typing import Any
from uuid import UUID

from tests.auth.api import Account, Api, account
from tests.auth.phones import new_phone


async def staff(api: Api, role: str) -> Account:
    made = await api.register()
    await api.sql("UPDATE users SET roles = ARRAY['user', :role] WHERE id = :id", role=role, id=made.id)
    return account(await api.sign_in(username=made.username))


async def befriend(api: Api, one: Account, two: Account) -> None:
    pairs = "INSERT INTO contacts (user_id, contact_id) VALUES (:one, :two), (:two, :one)"
    await api.sql(pairs, one=one.id, two=two.id)


async def block(api: Api, one: Account, two: Account) -> None:
    await api.sql("INSERT INTO blocks (user_id, blocked_id) VALUES (:one, :two)", one=one.id, two=two.id)


async def confirm(api: Api, made: Account) -> None:
    """The address, as following the link in the mail does."""
    answer = await api.post("/api/v1/auth/email/verify", {"token": await api.link_token(made.email)})
    assert answer.status_code == 200, answer.text


async def choose(api: Api, made: Account, **privacy: Any) -> None:
    answer = await api.call("PATCH", "/api/v1/users/me", made.access, json={"privacy": privacy})
    assert answer.status_code == 200, answer.text


async def seen_by(api: Api, looking: Account, user_id: UUID) -> dict[str, Any]:
    answer = await api.get(f"/api/v1/users/{user_id}", looking.access)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def phone() -> str:
    """A number that nobody else has."""
    return new_phone("+14156", 6)
