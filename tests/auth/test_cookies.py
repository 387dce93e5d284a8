"""Browsers whose scripts never see a token."""

import httpx2
import pytest

from tests.auth.api import PASSWORD, Api, account, session_of
from tests.auth.browsers import ACCESS, REFRESH, Browser, signed_in
from tests.auth.conftest import OpenApi

TOKEN, REFRESHING, LOGOUT = "/api/v1/auth/token", "/api/v1/auth/token/refresh", "/api/v1/auth/logout"


@pytest.mark.promise("A48")
async def test_cookies_are_out_of_reach_for_scripts_and_other_sites(either: Api) -> None:
    made = await either.register()
    answer = await Browser(either).sign_in(made.email)
    lines = [line for line in answer.headers.get_list("set-cookie") if "device" not in line]
    assert [line.partition("=")[0] for line in lines] == [ACCESS, REFRESH]
    for line in lines:
        assert {"Path=/", "HttpOnly", "Secure", "SameSite=Strict"} <= set(line.split("; "))
        assert "Domain" not in line
    assert "Max-Age=900" in lines[0]


@pytest.mark.promise("A48")
async def test_no_token_is_in_the_body(api: Api) -> None:
    browser = await signed_in(api, **{"Sec-Fetch-Site": "same-origin"})
    for answer in (await browser.call("POST", REFRESHING), await browser.sign_in((await browser.me()).json()["email"])):
        assert answer.json().keys() == {"success", "expires_in", "user"}
        assert browser.cookies[ACCESS] not in answer.text
        assert browser.cookies[REFRESH] not in answer.text


@pytest.mark.promise("A48")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/users/me/password", {"current_password": PASSWORD, "new_password": "staple battery horse"}),
        ("/api/v1/auth/reauth", {"method": "password", "password": PASSWORD}),
    ],
)
async def test_a_session_in_cookies_gets_its_new_tokens_there(api: Api, path: str, body: dict[str, str]) -> None:
    browser = await signed_in(api, **{"Sec-Fetch-Site": "same-origin"})
    answer = await browser.call("POST", path, json=body)
    assert (answer.status_code, answer.json().keys()) == (200, {"success", "expires_in", "user"})
    assert (await browser.rename()).status_code == 200
    assert (await browser.call("POST", REFRESHING)).status_code == 200


@pytest.mark.promise("A48")
async def test_the_cookie_signs_in_and_the_refresh_cookie_goes_on(either: Api) -> None:
    browser = await signed_in(either, **{"Sec-Fetch-Site": "same-origin"})
    assert (await browser.me()).status_code == 200
    before = dict(browser.cookies)
    assert (await browser.call("POST", REFRESHING, json={})).status_code == 200
    assert before[REFRESH] != browser.cookies[REFRESH]
    assert session_of(before[ACCESS]) == session_of(browser.cookies[ACCESS])
    assert (await browser.rename()).status_code == 200


async def test_signing_out_clears_the_cookies_and_ends_the_session(api: Api) -> None:
    browser = await signed_in(api, **{"Sec-Fetch-Site": "same-origin"})
    before = dict(browser.cookies)
    assert (await browser.call("POST", LOGOUT)).status_code == 200
    assert not {ACCESS, REFRESH} & browser.cookies.keys()
    assert (await api.refresh(before[REFRESH])).json()["code"] == "token_revoked"
    assert await api.ended(before[ACCESS]) == "token_revoked"


async def test_a_program_gets_no_cookies(api: Api) -> None:
    made = await api.register()
    answer = await api.sign_in(email=made.email)
    assert ACCESS not in str(answer.headers)
    assert "set-cookie" not in (await api.refresh(account(answer).refresh)).headers
    assert "set-cookie" not in (await api.post(LOGOUT, {}, made.access)).headers


@pytest.mark.promise("R11")
async def test_a_planted_session_ends_at_the_next_sign_in(api: Api) -> None:
    browser = await signed_in(api, **{"Sec-Fetch-Site": "same-origin"})
    planted = dict(browser.cookies)
    victim = await api.register()
    assert (await browser.sign_in(victim.email)).status_code == 200
    assert session_of(browser.cookies[ACCESS]) != session_of(planted[ACCESS])
    assert (await api.refresh(planted[REFRESH])).json()["code"] == "token_revoked"
    assert (await browser.me()).json()["email"] == victim.email


@pytest.mark.promise("T15")
async def test_header_and_cookie_that_differ_are_refused(api: Api) -> None:
    browser, other = await signed_in(api), await api.register()
    answer = await browser.call("GET", "/api/v1/users/me", headers={"Authorization": f"Bearer {other.access}"})
    assert (answer.status_code, answer.json()["code"]) == (400, "ambiguous_credentials")
    own = {"Authorization": f"Bearer {browser.cookies[ACCESS]}"}
    assert (await browser.call("GET", "/api/v1/users/me", headers=own)).status_code == 200
    # What the header says no browser says by itself: no further proof is needed.
    assert (await browser.rename(headers=own)).status_code == 200


@pytest.mark.promise("T15")
async def test_two_cookies_of_one_name_are_refused(api: Api) -> None:
    browser = await signed_in(api, **{"Sec-Fetch-Site": "same-origin"})
    other = await api.register()
    browser.cookies[f" {ACCESS}"] = other.access
    assert (await browser.me()).status_code == 400
    del browser.cookies[f" {ACCESS}"]
    browser.cookies[f" {REFRESH}"] = other.refresh
    assert (await browser.call("POST", REFRESHING)).status_code == 400


@pytest.mark.promise("T15")
async def test_a_refresh_token_in_body_and_cookie_must_be_one(api: Api) -> None:
    browser = await signed_in(api, **{"Sec-Fetch-Site": "same-origin"})
    other = await api.register()
    assert (await browser.call("POST", REFRESHING, json={"refresh": other.refresh})).status_code == 400
    assert (await api.refresh(other.refresh)).status_code == 200


FORMS = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x")


@pytest.mark.promise("A49", "R14")
@pytest.mark.parametrize("path", [TOKEN, REFRESHING, LOGOUT, "/api/v1/auth/logout-all"])
@pytest.mark.parametrize("media", [*FORMS, None])
async def test_a_form_of_another_site_posts_nothing(api: Api, path: str, media: str | None) -> None:
    """The cookies come along only in browsers that know no SameSite; then this is what is left."""
    browser = await signed_in(api, **{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"})
    content = None if media is None else b'{"email":"ada@example.com","password":"x","cookie":true}'
    headers = {} if media is None else {"Content-Type": media}
    answer = await browser.call("POST", path, content=content, headers=headers)
    assert answer.status_code in ((403, 415) if path != TOKEN or media else (422,))
    browser.says = {"Sec-Fetch-Site": "same-origin"}
    assert (await browser.call("POST", REFRESHING)).status_code == 200


@pytest.mark.promise("A49")
async def test_nobody_is_signed_in_by_a_page_of_another_site(api: Api) -> None:
    made = await api.register()
    for says in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "null"}):
        browser = Browser(api, says)
        answer = await browser.sign_in(made.email)
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site_request")
        assert browser.cookies == {}


async def test_a_page_of_an_allowed_origin_signs_in(open_api: OpenApi) -> None:
    async with open_api(cors_origins=["https://app.example.com"]) as api:
        made = await api.register()
        browser = Browser(api, {"Origin": "https://app.example.com", "Sec-Fetch-Site": "cross-site"})
        assert (await browser.sign_in(made.email)).status_code == 200
        assert (await browser.rename()).status_code == 200


async def test_a_browser_that_says_no_more_than_our_own_origin_signs_in(open_api: OpenApi) -> None:
    async with open_api(public_url="https://API.example.com:443/") as api:
        made = await api.register()
        browser = Browser(api, {"Origin": "https://api.example.com"})
        assert (await browser.sign_in(made.email)).status_code == 200
        assert (await browser.rename()).status_code == 200
        browser.says = {"Origin": "https://evil.example.com"}
        assert (await browser.rename()).json()["code"] == "cross_site_request"


async def test_cookie_mode_is_asked_for_in_plain_words(api: Api) -> None:
    made = await api.register()
    body = {"email": made.email, "password": PASSWORD, "cookie": "yes"}
    answer: httpx2.Response = await api.post(TOKEN, body)
    assert answer.status_code == 422
