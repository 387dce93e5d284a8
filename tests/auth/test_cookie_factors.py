"""Second factors and step-up in browsers whose scripts see no token."""

import httpx2
import pytest

from tests.auth.api import PASSWORD, Api, claims, session_of
from tests.auth.authenticator import Authenticator
from tests.auth.browsers import ACCESS, REFRESH, Browser, signed_in
from tests.auth.factors import MFA, PASSKEYS, REAUTH, App, shown, with_passkey, with_totp

PUBLIC = {"success", "expires_in", "user"}
CROSS = {"Sec-Fetch-Site": "cross-site"}


def keeps_secret(browser: Browser, answer: httpx2.Response) -> bool:
    """The tokens are in the cookies, and nowhere else."""
    tokens = [browser.cookies[ACCESS], browser.cookies[REFRESH]]
    return answer.status_code < 300 and all(tokens) and not any(token in answer.text for token in tokens)


@pytest.mark.promise("A48")
async def test_the_second_factor_ends_a_sign_in_with_cookies(ahead: Api) -> None:
    person, browser = await with_totp(ahead), Browser(ahead)
    asked = await browser.sign_in(person.account.email)
    assert not {ACCESS, REFRESH} & browser.cookies.keys()
    body = {"mfa_token": asked.json()["mfa_token"], "method": "recovery_code", "code": person.codes[0]}
    answer = await browser.call("POST", f"{MFA}/verify", json=body)
    assert keeps_secret(browser, answer)
    assert answer.json().keys() == PUBLIC
    assert claims(browser.cookies[ACCESS])["aal"] == 2


@pytest.mark.promise("A49")
async def test_a_page_of_another_site_neither_ends_it_nor_spends_the_code(ahead: Api) -> None:
    person, browser = await with_totp(ahead), Browser(ahead)
    token = (await browser.sign_in(person.account.email)).json()["mfa_token"]
    body = {"mfa_token": token, "method": "recovery_code", "code": person.codes[0]}
    refused = await browser.call("POST", f"{MFA}/verify", json=body, headers=CROSS)
    assert refused.status_code == 403
    assert (await browser.call("POST", f"{MFA}/verify", json=body)).status_code == 200


@pytest.mark.promise("A48")
async def test_a_passkey_signs_in_with_cookies(ahead: Api) -> None:
    person, browser = await with_passkey(ahead), Browser(ahead)
    assert person.passkey is not None
    answer = await shown(ahead, f"{PASSKEYS}/login/options", person.passkey)
    said = {**answer, "cookie": True}
    assert (await browser.call("POST", f"{PASSKEYS}/login/verify", json=said, headers=CROSS)).status_code == 403
    assert keeps_secret(browser, await browser.call("POST", f"{PASSKEYS}/login/verify", json=said))
    assert (await browser.me()).json()["id"] == str(person.account.id)


@pytest.mark.promise("A48")
async def test_confirming_who_one_is_replaces_the_cookies(ahead: Api) -> None:
    browser = await signed_in(ahead, **{"Sec-Fetch-Site": "same-origin"})
    ahead.clock.advance(301)
    assert (await browser.call("POST", f"{MFA}/totp")).json()["code"] == "reauth_required"
    before = dict(browser.cookies)
    answer = await browser.call("POST", REAUTH, json={"password": PASSWORD})
    assert keeps_secret(browser, answer)
    assert session_of(browser.cookies[ACCESS]) == session_of(before[ACCESS])
    assert (await ahead.refresh(before[REFRESH])).status_code == 401
    assert (await browser.call("POST", f"{MFA}/totp")).status_code == 200


@pytest.mark.promise("A48")
async def test_a_new_factor_replaces_the_cookies(ahead: Api) -> None:
    browser = await signed_in(ahead, **{"Sec-Fetch-Site": "same-origin"})
    app = App(ahead, (await browser.call("POST", f"{MFA}/totp")).json()["secret"])
    answer = await browser.call("POST", f"{MFA}/totp/confirm", json={"code": app.code()})
    assert keeps_secret(browser, answer)
    assert answer.json()["tokens"].keys() == PUBLIC
    asking = (await browser.call("POST", f"{PASSKEYS}/register/options")).json()
    body = {"ceremony_id": asking["ceremony_id"], "credential": Authenticator().create(asking["options"])}
    assert keeps_secret(browser, await browser.call("POST", f"{PASSKEYS}/register/verify", json=body))
    assert (await browser.me()).status_code == 200
