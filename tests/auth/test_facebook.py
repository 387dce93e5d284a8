"""The Sender client's sign-in with Facebook: with an access token where a code belongs, or with a code."""

from typing import Any

import httpx2
import pytest

from tests.auth.api import Account, Api, account, claims, unique
from tests.auth.elsewhere import PAGE, Elsewhere
from tests.auth.test_compat_sender import refusal
from tests.auth.test_social import code_of_app

pytestmark = pytest.mark.promise("K12")

LOGIN = "/api/auth/login/facebook/"
INCOMPLETE = refusal("Authorization code and redirect URI are required", "invalid")
NO_CODE = refusal("Failed to exchange code for token", "facebook_refused")
NO_PERSON = refusal("Failed to get user information", "facebook_refused")
REFUSED = refusal("Failed to authenticate with Facebook", "facebook_refused")


async def ask(api: Api, code: Any, page: Any = PAGE, **options: Any) -> httpx2.Response:
    return await api.post(LOGIN, {"code": code, "redirect_uri": page}, **options)


async def sign_in(elsewhere: Elsewhere, code: str) -> Account:
    answer = await ask(elsewhere.api, code)
    assert answer.status_code == 200, answer.text
    return account(answer)


async def refused(api: Api, code: Any, page: Any = PAGE) -> dict[str, Any]:
    answer = await ask(api, code, page)
    assert answer.status_code == 400, answer.text
    said: dict[str, Any] = answer.json()
    return said


async def code_for(elsewhere: Elsewhere, person: str, page: str = PAGE) -> str:
    """Without a verifier, as that client asks."""
    asked = f"/identity/facebook/authorize?client_id=parley&redirect_uri={page}&response_type=code"
    return (await elsewhere.browser().agree(asked, person)).partition("code=")[2]


async def test_an_access_token_in_the_place_of_a_code_gives_tokens(elsewhere: Elsewhere) -> None:
    person = await elsewhere.person()
    answers = [await ask(elsewhere.api, await elsewhere.facebook_token(person)) for _ in range(2)]
    body = answers[0].json()
    assert (answers[0].status_code, body["success"]) == (200, True)
    assert body["data"].keys() == {"access", "refresh", "userId", "email"}
    assert body["data"]["email"] == elsewhere.emails[person]
    assert body["data"]["userId"] == answers[1].json()["data"]["userId"]


@pytest.mark.promise("K16")
async def test_its_session_lasts_as_long_as_others_of_this_client(elsewhere: Elsewhere) -> None:
    made = await sign_in(elsewhere, await elsewhere.facebook_token(await elsewhere.person()))
    assert claims(made.access)["exp"] - claims(made.access)["iat"] == 12 * 3600


async def test_an_authorization_code_works_too(elsewhere: Elsewhere) -> None:
    person = await elsewhere.person(email=None)
    answer = await ask(elsewhere.api, await code_for(elsewhere, person))
    assert answer.json()["data"]["email"] is None
    assert account(answer).id == (await sign_in(elsewhere, await elsewhere.facebook_token(person))).id


async def test_a_token_of_another_app_is_refused(elsewhere: Elsewhere) -> None:
    token = await elsewhere.facebook_token(await elsewhere.person(), app="another-app")
    assert await refused(elsewhere.api, token) == REFUSED


@pytest.mark.parametrize(("code", "page"), [("", PAGE), ("abc", ""), (None, PAGE), ("abc", None)])
async def test_both_fields_are_wanted(api: Api, code: Any, page: Any) -> None:
    assert await refused(api, code, page) == INCOMPLETE


@pytest.mark.parametrize("body", [{}, {"code": "abc"}, {"redirect_uri": PAGE}])
async def test_neither_may_be_missing(api: Api, body: dict[str, str]) -> None:
    answer = await api.post(LOGIN, body)
    assert (answer.status_code, answer.json()) == (400, INCOMPLETE)


async def test_what_is_neither_token_nor_code_is_refused(elsewhere: Elsewhere) -> None:
    assert await refused(elsewhere.api, "nonsense") == NO_CODE
    code = await code_for(elsewhere, await elsewhere.person())
    assert await refused(elsewhere.api, code, "https://elsewhere.example.com/") == NO_CODE
    assert await refused(elsewhere.api, code) == NO_CODE


async def test_a_person_that_cannot_be_read_is_refused(elsewhere: Elsewhere) -> None:
    token = await elsewhere.facebook_token(await elsewhere.person())
    await elsewhere.trouble("facebook", "me", "server_error")
    assert await refused(elsewhere.api, token) == NO_PERSON


async def test_facebook_out_of_order_is_a_refusal(elsewhere: Elsewhere) -> None:
    await elsewhere.trouble("facebook", "api", "server_error")
    assert await refused(elsewhere.api, "abc") == REFUSED


@pytest.mark.promise("L16")
async def test_facebook_too_slow_is_a_refusal(elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auth_service.domain.oauth.SECONDS_IN_ALL", 0.3)
    await elsewhere.trouble("facebook", "api", "slow")
    assert await refused(elsewhere.api, "abc") == REFUSED


async def test_without_facebook_everything_is_refused(api: Api) -> None:
    assert await refused(api, "abc") == REFUSED


async def test_a_suspended_account_is_refused(elsewhere: Elsewhere) -> None:
    token = await elsewhere.facebook_token(await elsewhere.person())
    made = await sign_in(elsewhere, token)
    await elsewhere.api.sql("UPDATE users SET status = 'suspended' WHERE id = :id", id=made.id)
    assert await refused(elsewhere.api, token) == REFUSED


async def test_an_account_that_is_bound_to_countries(elsewhere: Elsewhere) -> None:
    token = await elsewhere.facebook_token(await elsewhere.person())
    made = await sign_in(elsewhere, token)
    await elsewhere.api.sql("UPDATE users SET allowed_countries = '{FR}' WHERE id = :id", id=made.id)
    answer = await ask(elsewhere.api, token, country="DE")
    assert (answer.status_code, answer.json()) == (403, refusal("Access not allowed from DE", "country_blocked"))


@pytest.mark.promise("A28")
async def test_an_address_from_facebook_opens_no_account(elsewhere: Elsewhere) -> None:
    made = await elsewhere.api.register()
    await elsewhere.api.post("/api/v1/auth/email/verify", {"token": await elsewhere.api.link_token(made.email)})
    came = await sign_in(elsewhere, await elsewhere.facebook_token(await elsewhere.person(email=made.email)))
    assert came.id != made.id
    assert came.email is None


async def test_a_code_of_the_canonical_kind_is_not_weakened(elsewhere: Elsewhere) -> None:
    """Who asked with a challenge must bring the verifier."""
    got = await code_of_app(elsewhere, "facebook", await elsewhere.person(), verifier=unique() * 3, nonce="n" * 20)
    assert await refused(elsewhere.api, got["code"]) == NO_CODE
