"""What a request must show that cookies authenticate."""

import pytest

from tests.auth.api import Api
from tests.auth.browsers import CSRF, Browser, signed_in
from tests.auth.conftest import OpenApi

PATH = "/api/csrf-token"


async def token(browser: Browser) -> str:
    answer = await browser.call("GET", PATH)
    assert answer.status_code == 200
    found: str = answer.json()["csrfToken"]
    return found


@pytest.mark.promise("K22")
@pytest.mark.parametrize("path", [PATH, PATH + "/"])
async def test_anybody_gets_a_token_in_body_and_cookie(api: Api, path: str) -> None:
    browser = Browser(api)
    answer = await browser.call("GET", path)
    assert answer.json() == {"csrfToken": browser.cookies[CSRF]}
    attributes = answer.headers["set-cookie"].split("; ")[1:]
    assert {"SameSite=Lax", "Max-Age=86400"} <= set(attributes)
    assert "HttpOnly" not in attributes


@pytest.mark.promise("A48")
@pytest.mark.parametrize("site", ["same-origin", "none"])
async def test_a_page_of_ours_needs_no_token(api: Api, site: str) -> None:
    browser = await signed_in(api, **{"Sec-Fetch-Site": site, "Origin": "http://test"})
    assert (await browser.rename()).status_code == 200


@pytest.mark.promise("A48")
@pytest.mark.parametrize(
    "says",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "nonsense"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://app.example.com.evil.example"},
    ],
)
async def test_a_page_of_another_site_is_refused_even_with_a_token(open_api: OpenApi, says: dict[str, str]) -> None:
    async with open_api(cors_origins=["https://app.example.com"]) as api:
        browser = await signed_in(api, **says)
        sent = await token(browser)
        answer = await browser.rename(headers={"x-csrf-token": sent})
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site_request")
        assert (await browser.me()).json()["first_name"] != "Ada"


@pytest.mark.promise("A48", "K22")
async def test_whoever_says_nothing_repeats_the_token(either: Api) -> None:
    browser = await signed_in(either)
    refused = await browser.rename()
    assert (refused.status_code, refused.json()["code"]) == (403, "csrf_token_missing")
    sent = await token(browser)
    assert (await browser.rename()).json()["code"] == "csrf_token_missing"
    assert (await browser.rename(headers={"x-csrf-token": sent})).status_code == 200
    assert (await browser.me()).status_code == 200


@pytest.mark.promise("A48", "K22")
async def test_a_token_of_somebody_else_or_of_nobody_is_invalid(api: Api) -> None:
    browser = await signed_in(api)
    for foreign in (await token(await signed_in(api)), await token(Browser(api)), "x"):
        browser.cookies[CSRF] = foreign
        answer = await browser.rename(headers={"x-csrf-token": foreign})
        assert (answer.status_code, answer.json()["code"]) == (403, "csrf_token_invalid")


@pytest.mark.promise("A48")
async def test_header_and_cookie_must_be_the_same(api: Api) -> None:
    browser = await signed_in(api)
    first, second = await token(browser), await token(browser)
    assert first != second
    assert (await browser.rename(headers={"x-csrf-token": first})).json()["code"] == "csrf_token_invalid"
    assert (await browser.rename(headers={"x-csrf-token": second})).status_code == 200


@pytest.mark.promise("A48")
async def test_refreshing_by_cookie_needs_the_same_proof(api: Api) -> None:
    browser = await signed_in(api)
    assert (await browser.call("POST", "/api/v1/auth/token/refresh")).json()["code"] == "csrf_token_missing"
    sent = await token(browser)
    answer = await browser.call("POST", "/api/v1/auth/token/refresh", headers={"x-csrf-token": sent})
    assert answer.status_code == 200


async def test_a_token_outlives_a_day_by_nothing(aging: Api) -> None:
    browser = await signed_in(aging)
    sent = await token(browser)
    aging.clock.advance(86_400 + 31)
    answer = await browser.call("POST", "/api/v1/auth/token/refresh", headers={"x-csrf-token": sent})
    assert answer.json()["code"] == "csrf_token_invalid"


@pytest.mark.promise("T9")
async def test_a_csrf_token_opens_nothing_else(api: Api) -> None:
    sent = await token(await signed_in(api))
    assert (await api.me(sent)).json()["code"] == "wrong_token_type"
    assert (await api.refresh(sent)).json()["code"] == "wrong_token_type"


async def test_a_bearer_needs_no_token(api: Api) -> None:
    made = await api.register()
    says = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    answer = await api.call("PATCH", "/api/v1/users/me", made.access, json={"first_name": "Ada"}, headers=says)
    assert answer.status_code == 200
