"""Codes for phones in browsers whose scripts see no token."""

import pytest

from tests.auth.browsers import ACCESS, REFRESH, Browser
from tests.auth.factors import MFA, with_totp
from tests.auth.phones import VERIFY, Phone

CHANGE = "/api/v1/users/me/phone"
CROSS = {"Sec-Fetch-Site": "cross-site"}


async def signing_in(phone: Phone) -> dict[str, object]:
    """What the page sends that wants cookies."""
    return {"challenge_id": await phone.challenge(), "code": await phone.code(), "cookie": True}


@pytest.mark.promise("A48")
async def test_browser_gets_its_tokens_as_cookies(phone: Phone) -> None:
    browser = Browser(phone.api)
    body = await signing_in(phone)
    answer = await browser.call("POST", VERIFY, json=body)
    assert (answer.status_code, answer.json()["created"]) == (200, True)
    assert answer.json().keys() == {"success", "expires_in", "user", "created"}
    tokens = [browser.cookies[ACCESS], browser.cookies[REFRESH]]
    assert not any(token in answer.text for token in tokens)
    assert (await browser.me()).json()["phone_number"] == phone.number
    assert (await browser.call("POST", "/api/v1/auth/token/refresh")).status_code == 200
    assert not set(tokens) & set(browser.cookies.values())
    assert (await browser.me()).status_code == 200


@pytest.mark.promise("A48")
async def test_second_factor_ends_a_sign_in_by_phone_with_cookies(phone: Phone) -> None:
    person = await with_totp(phone.api, phone_number=phone.number)
    await phone.api.sql(
        "UPDATE identifiers SET verified_at = now() WHERE user_id = :id AND kind = 'phone'", id=person.account.id
    )
    browser = Browser(phone.api)
    asked = await browser.call("POST", VERIFY, json=await signing_in(phone))
    assert (asked.status_code, asked.json()["code"]) == (403, "mfa_required")
    assert not {ACCESS, REFRESH} & browser.cookies.keys()
    body = {"mfa_token": asked.json()["mfa_token"], "method": "recovery_code", "code": person.codes[0]}
    answer = await browser.call("POST", f"{MFA}/verify", json=body)
    assert answer.json().keys() == {"success", "expires_in", "user"}
    assert (await browser.me()).json()["id"] == str(person.account.id)


@pytest.mark.promise("R11")
async def test_planted_session_ends_at_a_sign_in_by_phone(phone: Phone) -> None:
    browser = Browser(phone.api)
    await browser.sign_in((await phone.api.register()).email)
    planted = browser.cookies[ACCESS]
    assert (await browser.call("POST", VERIFY, json=await signing_in(phone))).status_code == 200
    assert await phone.api.ended(planted) == "token_revoked"
    assert (await browser.me()).json()["phone_number"] == phone.number


@pytest.mark.promise("A48")
async def test_browser_changes_its_number(phone: Phone) -> None:
    browser, other = Browser(phone.api), Phone.new(phone.api)
    await browser.call("POST", VERIFY, json=await signing_in(phone))
    body = {"phone_number": other.number}
    assert (await browser.call("POST", CHANGE, json=body, headers=CROSS)).status_code == 403
    challenge = (await browser.call("POST", CHANGE, json=body)).json()["challenge_id"]
    given = {"challenge_id": challenge, "code": await other.code()}
    assert (await browser.call("POST", f"{CHANGE}/confirm", json=given, headers=CROSS)).status_code == 403
    answer = await browser.call("POST", f"{CHANGE}/confirm", json=given)
    assert (answer.status_code, answer.json()["phone_number"]) == (200, other.number)
    assert (await browser.me()).json()["phone_number"] == other.number


@pytest.mark.promise("A49")
async def test_page_of_another_site_gets_no_cookies_and_uses_no_code_up(phone: Phone) -> None:
    stranger = Browser(phone.api, says={"Sec-Fetch-Site": "cross-site"})
    body = await signing_in(phone)
    assert (await stranger.call("POST", VERIFY, json=body)).status_code == 403
    assert stranger.cookies == {}
    assert (await Browser(phone.api).call("POST", VERIFY, json=body)).status_code == 200


@pytest.mark.parametrize("cookie", ["true", 1, None])
async def test_cookies_are_asked_for_in_plain_words(phone: Phone, cookie: object) -> None:
    body = {**await signing_in(phone), "cookie": cookie}
    assert (await Browser(phone.api).call("POST", VERIFY, json=body)).status_code == 422
    assert (await phone.verify(str(body["challenge_id"]), str(body["code"]))).status_code == 200
