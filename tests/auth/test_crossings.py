"""Sign-ins that cross a change of their account: what was right a moment before opens nothing a moment after."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text

from auth_service.domain import revocations
from tests.auth.api import PASSWORD, Api
from tests.auth.elsewhere import PROVIDERS, Elsewhere
from tests.auth.factors import PASSKEYS, REAUTH, mfa_token, shown, verify, with_passkey, with_totp
from tests.auth.phones import Phone

WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@asynccontextmanager
async def crossing(api: Api, user_id: Any, asking: Awaitable[Any]) -> AsyncIterator[tuple[Any, "asyncio.Task[Any]"]]:
    """In a transaction that has locked the account first, while a request has come as far as it can."""
    async with api.db.transaction() as db:
        await db.execute(text("SELECT FROM users WHERE id = CAST(:id AS uuid) FOR UPDATE"), {"id": str(user_id)})
        task = asyncio.ensure_future(asking)
        async with asyncio.timeout(20):
            while not await api.sql(WAITING):
                assert not task.done()
                await asyncio.sleep(0.01)
        yield db, task


@pytest.mark.promise("R6")
async def test_the_old_password_opens_nothing_while_it_is_changed(api: Api) -> None:
    made = await api.register()
    async with crossing(api, made.id, api.sign_in(email=made.email)) as (db, late):
        await db.execute(text("UPDATE passwords SET hash = 'another' WHERE user_id = :id"), {"id": made.id})
    assert ((await late).status_code, (await late).json()["code"]) == (401, "invalid_credentials")


@pytest.mark.promise("A26", "R6")
async def test_the_old_password_proves_nothing_while_it_is_changed(api: Api) -> None:
    made = await api.register()
    async with crossing(api, made.id, api.post(REAUTH, {"password": PASSWORD}, made.access)) as (db, late):
        await db.execute(text("UPDATE passwords SET hash = 'another' WHERE user_id = :id"), {"id": made.id})
    assert ((await late).status_code, (await late).json()["code"]) == (401, "invalid_credentials")


@pytest.mark.promise("A39", "R6")
async def test_half_a_sign_in_ends_in_nothing_while_the_account_changes(ahead: Api) -> None:
    person = await with_totp(ahead)
    assert person.app is not None
    token = await mfa_token(ahead, person)
    ending = verify(ahead, token, "totp", person.app.next_code())
    async with crossing(ahead, person.account.id, ending) as (db, late):
        await revocations.record_user(db, person.account.id, now=ahead.clock.now())
    assert ((await late).status_code, (await late).json()["code"]) == (401, "invalid_token")


@pytest.mark.promise("R6")
async def test_a_code_of_an_app_proves_nothing_while_it_is_taken_away(ahead: Api) -> None:
    person = await with_totp(ahead)
    assert person.app is not None
    ending = verify(ahead, await mfa_token(ahead, person), "totp", person.app.next_code())
    async with crossing(ahead, person.account.id, ending) as (db, late):
        await db.execute(text("DELETE FROM totp WHERE user_id = :id"), {"id": person.account.id})
    assert ((await late).status_code, (await late).json()["code"]) == (401, "invalid_code")


@pytest.mark.promise("R6")
async def test_a_passkey_opens_nothing_while_it_is_taken_away(ahead: Api) -> None:
    person = await with_passkey(ahead)
    assert person.passkey is not None
    signing_in = ahead.post(f"{PASSKEYS}/login/verify", await shown(ahead, f"{PASSKEYS}/login/options", person.passkey))
    async with crossing(ahead, person.account.id, signing_in) as (db, late):
        await db.execute(text("DELETE FROM passkeys WHERE user_id = :id"), {"id": person.account.id})
    assert (await late).status_code == 401


@pytest.mark.promise("R6")
async def test_an_account_elsewhere_opens_nothing_while_it_is_taken_away(elsewhere: Elsewhere) -> None:
    api, browser, person = elsewhere.api, elsewhere.browser(), await elsewhere.person()
    user_id = (await browser.sign_in("google", person)).json()["user"]["id"]
    code = await browser.visit("google", person)
    exchanging = api.post(f"{PROVIDERS}/exchange", {"code": code}, headers=browser.headers)
    async with crossing(api, user_id, exchanging) as (db, late):
        await db.execute(text("DELETE FROM identities WHERE user_id = CAST(:id AS uuid)"), {"id": user_id})
    assert ((await late).status_code, (await late).json()["code"]) == (401, "invalid_credentials")


@pytest.mark.promise("R6")
async def test_a_code_opens_nothing_while_its_phone_is_taken_away(aging: Api) -> None:
    phone = Phone.new(aging)
    user_id = (await phone.sign_in()).json()["user"]["id"]
    aging.clock.advance(61)
    challenge = await phone.challenge()
    async with crossing(aging, user_id, phone.verify(challenge, await phone.code())) as (db, late):
        taking = "DELETE FROM identifiers WHERE user_id = CAST(:id AS uuid) AND kind = 'phone'"
        await db.execute(text(taking), {"id": user_id})
    # The number was nobody's by then.
    assert (await late).json()["created"]
    assert (await late).json()["user"]["id"] != user_id
