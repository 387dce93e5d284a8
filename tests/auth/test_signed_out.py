"""What a session begins, and is signed out before it is done, is not done: whichever comes first, the other knows."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from tests.auth.api import PASSWORD, Api, session_of
from tests.auth.elsewhere import Elsewhere
from tests.auth.factors import MFA, PASSKEYS, Person, with_passkey, with_totp
from tests.auth.phones import Phone

TOKENS = "/api/v1/auth/api-tokens"
EVERYWHERE = "/api/v1/auth/logout-all"
CHANGES: dict[str, tuple[str, str, Any]] = {
    "codes": ("POST", f"{MFA}/recovery-codes", None),
    "totp": ("DELETE", f"{MFA}/totp", None),
    "totp, keeping sessions": ("DELETE", f"{MFA}/totp?keep_sessions=true", None),
    "api token": ("POST", TOKENS, {"name": "deploy", "scopes": ["chat:read"]}),
    "countries": ("PUT", "/api/v1/users/me/countries", {"allowed_countries": ["SE"]}),
    "e-mail": ("POST", "/api/v1/users/me/email", {"email": "thief@example.com"}),
    "password": ("POST", "/api/v1/users/me/password", {"new_password": "another horse battery"}),
}


async def while_ending(api: Api, person: Person, act: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
    """Asks while somebody ends the session, who is done only when the asker waits for that, or has gone ahead."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    async with api.db.transaction() as db:
        ending = text("UPDATE sessions SET revoked_at = :now, revoked_reason = 'sign_out' WHERE id = :id")
        await db.execute(ending, {"now": api.clock.now(), "id": session_of(person.access)})
        asking = asyncio.ensure_future(act())
        async with asyncio.timeout(20):
            while not asking.done():
                async with api.db.transaction() as other:
                    if await other.scalar(waiting):
                        break
                await asyncio.sleep(0.01)
    return await asking


@pytest.mark.promise("A21")
@pytest.mark.parametrize("what", CHANGES)
async def test_a_session_that_is_being_signed_out_changes_nothing(api: Api, what: str) -> None:
    person = await with_totp(api)
    method, path, body = CHANGES[what]
    answer = await while_ending(api, person, lambda: api.call(method, path, person.access, json=body))
    assert (answer.status_code, answer.json()["code"]) == (401, "token_revoked")
    rows = await api.sql("SELECT action FROM audit WHERE actor_id = :id ORDER BY id DESC LIMIT 1", id=person.account.id)
    assert [row.action for row in rows] == ["factor.totp_added"]


@pytest.mark.promise("A21")
async def test_nor_does_it_take_the_last_passkey(api: Api) -> None:
    person = await with_passkey(api)
    path = f"{PASSKEYS}/{person.passkey_id}"
    answer = await while_ending(api, person, lambda: api.call("DELETE", path, person.access))
    assert answer.status_code == 401
    assert len(await api.sql("SELECT id FROM passkeys WHERE user_id = :id", id=person.account.id)) == 1


@pytest.mark.promise("A21")
async def test_nor_does_it_link_an_account_elsewhere(elsewhere: Elsewhere) -> None:
    made, person, browser = await elsewhere.api.register(), await elsewhere.person(), elsewhere.browser()
    code = await browser.visit_to_link(made.access, "google", person)
    session = Person(made, made.access)
    answer = await while_ending(elsewhere.api, session, lambda: browser.end_linking(made.access, code))
    assert (answer.status_code, answer.json()["code"]) == (401, "token_revoked")
    assert not await elsewhere.api.sql("SELECT id FROM identities WHERE user_id = :id", id=made.id)


@pytest.mark.promise("A21")
async def test_nor_does_it_confirm_a_number(api: Api) -> None:
    made, phone = await api.register(), Phone.new(api)
    asked = await phone.post("/api/v1/users/me/phone", {"phone_number": phone.number}, made.access)
    body = {"challenge_id": asked.json()["challenge_id"], "code": await phone.code()}
    path = "/api/v1/users/me/phone/confirm"
    answer = await while_ending(api, Person(made, made.access), lambda: phone.post(path, body, made.access))
    assert (answer.status_code, answer.json()["code"]) == (401, "token_revoked")
    assert (await api.me(made.access)).json()["phone_number"] is None


@pytest.mark.promise("A21")
async def test_what_was_done_was_done_before_the_sign_out(ahead: Api) -> None:
    """Ten times both at once: in the log, which each writes with its change, one order holds."""
    people = [await with_totp(ahead) for _ in range(10)]

    async def both(person: Person) -> int:
        removing = ahead.call("DELETE", f"{MFA}/totp", person.access)
        removed, left = await asyncio.gather(removing, ahead.post(EVERYWHERE, token=person.access))
        assert (removed.status_code in (204, 401), left.status_code) == (True, 200)
        return removed.status_code

    for person, status in zip(people, await asyncio.gather(*map(both, people)), strict=True):
        rows = await ahead.sql(
            "SELECT action FROM audit WHERE subject_id = :id AND action IN ('factor.totp_removed', 'session.ended')"
            " ORDER BY id",
            id=person.account.id,
        )
        removed = ["factor.totp_removed"] if status == 204 else []
        assert [row.action for row in rows] == [*removed, "session.ended"]


async def test_those_who_end_the_same_sessions_do_not_wait_in_a_circle(ahead: Api) -> None:
    for _ in range(5):
        # Theirs come first in the order of sessions, the one that ends them last.
        more = [await ahead.register() for _ in range(4)]
        person = await with_totp(ahead)
        await ahead.sql(
            "UPDATE sessions SET user_id = :me WHERE user_id = ANY(:others)",
            me=person.account.id,
            others=[each.id for each in more],
        )
        change = {"current_password": PASSWORD, "new_password": "another horse battery"}
        answers = await asyncio.gather(
            ahead.call("DELETE", f"{MFA}/totp", person.access),
            ahead.post(EVERYWHERE, token=person.access),
            ahead.post("/api/v1/users/me/password", change, person.access),
            ahead.post("/api/v1/auth/logout-others", token=person.access),
        )
        assert {answer.status_code for answer in answers} <= {200, 204, 401}
