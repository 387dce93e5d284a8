"""Attacks on signing in elsewhere. Each ends without a session and without a link."""

import asyncio
from uuid import UUID, uuid4

import pytest

from deploy.sandbox.identity import challenge_of
from tests.auth.api import unique
from tests.auth.conftest import OpenApi
from tests.auth.elsewhere import (
    IDENTITIES,
    OPENID,
    PAGE,
    PROVIDERS,
    Elsewhere,
    code_in,
    query,
    settings,
)
from tests.auth.test_social import code_of_app

pytestmark = pytest.mark.promise("L15")


async def nobody_came(elsewhere: Elsewhere, person: str) -> bool:
    """Whether neither an identity nor an account has come of it."""
    linked = await elsewhere.api.sql("SELECT 1 FROM identities WHERE email = :email", email=elsewhere.emails[person])
    made = await elsewhere.api.sql("SELECT 1 FROM identifiers WHERE value = :email", email=elsewhere.emails[person])
    return not linked and not made


async def test_coming_back_without_a_state(elsewhere: Elsewhere) -> None:
    browser = elsewhere.browser()
    await browser.begin("oidc")
    for state in ("", "?state=", "?state=nonsense", f"?state={uuid4()}", "?state=%00", "?state=a&state=b"):
        answer = await browser.come_back(f"{PROVIDERS}/oidc/callback{state}{'&' if state else '?'}code=abc")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_state")


async def test_the_state_of_another_browser(elsewhere: Elsewhere) -> None:
    """An attacker prepares a visit and sends the way back to somebody else."""
    attacker, victim, person = elsewhere.browser(), elsewhere.browser(), await elsewhere.person()
    back = await attacker.agree(await attacker.begin("oidc"), person)
    for browser in (elsewhere.browser(), victim):
        answer = await browser.come_back(back)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_state")
        await victim.begin("oidc")
    assert await nobody_came(elsewhere, person)
    # The one who began can still end it: a stranger's try uses nothing up.
    assert code_in(await attacker.come_back(back))


async def test_the_code_of_another_browser(elsewhere: Elsewhere) -> None:
    """So that nobody is signed in to somebody else's account by a link."""
    attacker, victim, person = elsewhere.browser(), elsewhere.browser(), await elsewhere.person()
    code = await attacker.visit("google", person)
    await victim.begin("google")
    for browser in (victim, elsewhere.browser()):
        answer = await browser.exchange(code)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_state")
    assert await nobody_came(elsewhere, person)


async def test_a_way_back_is_gone_once(elsewhere: Elsewhere) -> None:
    browser = elsewhere.browser()
    back = await browser.agree(await browser.begin("oidc"), await elsewhere.person())
    answers = await asyncio.gather(*(browser.come_back(back) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [303, 400, 400, 400, 400]


async def test_a_code_is_redeemed_once(elsewhere: Elsewhere) -> None:
    browser = elsewhere.browser()
    code = await browser.visit("google", await elsewhere.person())
    answers = await asyncio.gather(*(browser.exchange(code) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400, 400]
    assert (await browser.exchange(code)).json()["code"] == "invalid_state"


@pytest.mark.parametrize("code", ["nonsense", f"{UUID(int=1)}.abc", ".", "\u00e9.\u00e9", str(UUID(int=1))])
async def test_codes_that_nobody_was_given(elsewhere: Elsewhere, code: str) -> None:
    browser = elsewhere.browser()
    await browser.begin("oidc")
    assert (await browser.exchange(code)).json()["code"] == "invalid_state"


async def test_a_state_is_no_code_and_a_code_no_state(elsewhere: Elsewhere) -> None:
    browser = elsewhere.browser()
    state = query(await browser.begin("oidc"))["state"]
    assert (await browser.exchange(f"{state}.")).status_code == 400
    code = await browser.visit("oidc", await elsewhere.person())
    back = f"{PROVIDERS}/oidc/callback?code=abc&state={code.partition('.')[0]}"
    assert (await browser.come_back(back)).status_code == 400


async def test_a_visit_ends_after_ten_minutes_and_a_code_after_two(elsewhere: Elsewhere, open_api: OpenApi) -> None:
    async with open_api(clock=elsewhere.api.clock, **settings(elsewhere.origin)) as api:
        browser = elsewhere.browser(api)
        back = await browser.agree(await browser.begin("github"), await elsewhere.person())
        code = await browser.visit("github", await elsewhere.person())
        api.clock.advance(121)
        assert (await browser.exchange(code)).status_code == 400
        api.clock.advance(480)
        assert (await browser.come_back(back)).status_code == 400


async def test_the_way_back_from_one_provider_does_not_lead_to_another(elsewhere: Elsewhere) -> None:
    """A dishonest provider that sends the browser on to an honest one."""
    browser, person = elsewhere.browser(), await elsewhere.person()
    back = await browser.agree(await browser.begin("google"), person)
    answer = await browser.come_back(back.replace("/google/callback", "/oidc/callback"))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_state")
    assert await nobody_came(elsewhere, person)


async def test_a_way_back_that_names_another_issuer(elsewhere: Elsewhere) -> None:
    browser, person = elsewhere.browser(), await elsewhere.person()
    await elsewhere.trouble("oidc", "authorize", "another_issuer")
    answer = await browser.sign_in("oidc", person)
    assert (answer.status_code, answer.json()["code"]) == (400, "provider_refused")
    assert await nobody_came(elsewhere, person)


async def test_a_way_back_without_the_issuer_that_was_announced(elsewhere: Elsewhere) -> None:
    browser, person = elsewhere.browser(), await elsewhere.person()
    back = await browser.agree(await browser.begin("oidc"), person)
    code = code_in(await browser.come_back(back.partition("&iss=")[0] + f"&code={query(back)['code']}"))
    assert (await browser.exchange(code)).json()["code"] == "provider_refused"
    assert await nobody_came(elsewhere, person)


async def test_a_code_that_was_stolen_from_another_visit(elsewhere: Elsewhere) -> None:
    """The verifier is that of the thief's own visit, and the nonce too."""
    victim, thief, person = elsewhere.browser(), elsewhere.browser(), await elsewhere.person()
    for provider in ("oidc", "github", "facebook"):
        stolen = query(await victim.agree(await victim.begin(provider), person))["code"]
        own = await thief.agree(await thief.begin(provider), await elsewhere.person())
        code = code_in(await thief.come_back(own.replace(query(own)["code"], stolen)))
        answer = await thief.exchange(code)
        assert (answer.status_code, answer.json()["code"]) == (400, "provider_refused"), provider
    assert await nobody_came(elsewhere, person)


@pytest.mark.parametrize("provider", OPENID)
@pytest.mark.parametrize(
    "trick",
    [
        "another_nonce",
        "no_nonce",
        "another_issuer",
        "another_audience",
        "another_key",
        "expired",
        "unsigned",
        "signed_with_public_key",
    ],
)
async def test_identities_that_are_not_genuine(elsewhere: Elsewhere, provider: str, trick: str) -> None:
    person = await elsewhere.person()
    await elsewhere.trouble(provider, "token", trick)
    answer = await elsewhere.browser().sign_in(provider, person)
    assert (answer.status_code, answer.json()["code"]) == (400, "provider_refused")
    assert await nobody_came(elsewhere, person)


@pytest.mark.parametrize(
    "page",
    [
        f"{PAGE}/",
        f"{PAGE}.evil.example.com",
        f"{PAGE}?next=https://evil.example.com",
        f"{PAGE}#",
        f"{PAGE}%0d%0aSet-Cookie:x=1",
        f"{PAGE}\r\nSet-Cookie: x=1",
        f"{PAGE}/../elsewhere",
        f" {PAGE}",
        PAGE.upper(),
        PAGE.replace("https", "http"),
        "https://app.example.com@evil.example.com/signed-in",
        "https://evil.example.com/signed-in",
        "https://app.example.com:8443/signed-in",
        "//app.example.com/signed-in",
        "/signed-in",
        "javascript:alert(1)",
        "https://\u0430pp.example.com/signed-in",
    ],
)
async def test_no_page_but_those_that_are_named(elsewhere: Elsewhere, page: str) -> None:
    answer = await elsewhere.api.post(f"{PROVIDERS}/oidc/begin", {"return_to": page})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "return_to")
    body = {"code": "abc", "redirect_uri": page, "code_verifier": "v" * 43, "nonce": "n" * 16}
    answer = await elsewhere.api.post(f"{PROVIDERS}/oidc/token", body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "redirect_uri")


async def test_what_the_provider_says_is_not_repeated(elsewhere: Elsewhere) -> None:
    browser = elsewhere.browser()
    await elsewhere.trouble("github", "authorize", "text_with_markup")
    returned = await browser.come_back(await browser.agree(await browser.begin("github"), await elsewhere.person()))
    assert returned.headers["location"] == f"{PAGE}#error=provider_refused"
    assert "alert" not in returned.text + str(returned.headers)
    await elsewhere.trouble("github", "token", "server_error")
    answer = await browser.sign_in("github", await elsewhere.person())
    assert (answer.status_code, answer.json()["code"]) == (502, "provider_failed")
    assert "alert" not in answer.text


@pytest.mark.parametrize("verifier", ["v" * 42, "v" * 129, "plain text with spaces" * 3, ""])
async def test_an_app_cannot_do_without_a_verifier(elsewhere: Elsewhere, verifier: str) -> None:
    body = {"code": "abc", "redirect_uri": PAGE, "code_verifier": verifier}
    assert (await elsewhere.api.post(f"{PROVIDERS}/github/token", body)).status_code == 422
    del body["code_verifier"]
    assert (await elsewhere.api.post(f"{PROVIDERS}/github/token", body)).status_code == 422


async def test_pkce_cannot_be_talked_down(elsewhere: Elsewhere) -> None:
    """A page that sends its challenge as the verifier, as with the method `plain`."""
    verifier, nonce, person = unique() * 3, unique() * 2, await elsewhere.person()
    got = await code_of_app(elsewhere, "oidc", person, verifier=verifier, nonce=nonce)
    body = {"code": got["code"], "redirect_uri": PAGE, "nonce": nonce, "iss": got["iss"]}
    answer = await elsewhere.api.post(f"{PROVIDERS}/oidc/token", {**body, "code_verifier": challenge_of(verifier)})
    assert (answer.status_code, answer.json()["code"]) == (400, "provider_refused")
    assert await nobody_came(elsewhere, person)


@pytest.mark.parametrize("nonce", [None, "n" * 30])
async def test_an_app_must_know_the_nonce(elsewhere: Elsewhere, nonce: str | None) -> None:
    verifier, person = unique() * 3, await elsewhere.person()
    got = await code_of_app(elsewhere, "google", person, verifier=verifier, nonce=unique() * 2)
    body = {"code": got["code"], "redirect_uri": PAGE, "code_verifier": verifier, "nonce": nonce}
    answer = await elsewhere.api.post(f"{PROVIDERS}/google/token", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "provider_refused")
    assert await nobody_came(elsewhere, person)


async def test_a_code_is_bound_to_the_page_it_was_sent_to(elsewhere: Elsewhere) -> None:
    verifier, nonce, person = unique() * 3, unique() * 2, await elsewhere.person()
    got = await code_of_app(
        elsewhere, "google", person, verifier=verifier, nonce=nonce, page="https://evil.example.com/"
    )
    body = {"code": got["code"], "redirect_uri": PAGE, "code_verifier": verifier, "nonce": nonce}
    assert (await elsewhere.api.post(f"{PROVIDERS}/google/token", body)).json()["code"] == "provider_refused"
    assert await nobody_came(elsewhere, person)


async def test_a_visit_to_link_signs_nobody_in_and_links_for_nobody_else(elsewhere: Elsewhere) -> None:
    ada, eve, person = await elsewhere.api.register(), await elsewhere.api.register(), await elsewhere.person()
    browser = elsewhere.browser()
    back = await browser.agree(await browser.begin_linking(ada.access, "google"), person)
    code = code_in(await browser.come_back(back))
    assert (await browser.exchange(code)).status_code == 400
    answer = await elsewhere.api.post(IDENTITIES, {"code": code}, eve.access, headers=browser.headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_state")
    assert await nobody_came(elsewhere, person)
    sign_in_code = await browser.visit("google", person)
    answer = await elsewhere.api.post(IDENTITIES, {"code": sign_in_code}, eve.access, headers=browser.headers)
    assert answer.status_code == 400


async def test_a_form_of_another_kind_is_refused(elsewhere: Elsewhere) -> None:
    answer = await elsewhere.api.call("POST", f"{PROVIDERS}/apple/callback", json={"state": "x"})
    assert answer.status_code == 415
    answer = await elsewhere.api.call("POST", f"{PROVIDERS}/apple/begin", data={"return_to": PAGE})
    assert answer.status_code == 415
    for content in (b"\xff=\xff", b"&".join(b"a=%d" % n for n in range(100)), b""):
        kind = {"content-type": "application/x-www-form-urlencoded"}
        answer = await elsewhere.api.call("POST", f"{PROVIDERS}/apple/callback", content=content, headers=kind)
        assert answer.status_code in (303, 400)


async def test_a_posted_way_back_leads_only_to_the_other(elsewhere: Elsewhere) -> None:
    form = {"state": "x", "code": "y\r\nz", "return_to": "https://evil.example.com", "id_token": "t"}
    answer = await elsewhere.api.call("POST", f"{PROVIDERS}/apple/callback", data=form)
    own = f"https://api.example.com{PROVIDERS}/apple/callback?state=x&code=y%0D%0Az"
    assert (answer.status_code, answer.headers["location"]) == (303, own)
    assert "set-cookie" not in answer.headers


async def test_odd_characters_on_the_way_back_are_no_fault(elsewhere: Elsewhere) -> None:
    browser = elsewhere.browser()
    state = query(await browser.begin("apple"))["state"]
    odd = "%00%ff%22%3Cscript%3E"
    returned = await browser.come_back(f"{PROVIDERS}/apple/callback?state={state}&code={odd}&iss={odd}&user={odd}")
    assert (await browser.exchange(code_in(returned))).json()["code"] == "provider_refused"


@pytest.mark.promise("L16")
@pytest.mark.parametrize("provider", ["oidc", "github", "facebook"])
@pytest.mark.parametrize("trick", ["huge", "nonsense", "redirect", "server_error"])
async def test_a_provider_that_misbehaves_is_502(elsewhere: Elsewhere, provider: str, trick: str) -> None:
    person = await elsewhere.person()
    for at in ("token", "api") if provider != "oidc" else ("token",):
        await elsewhere.trouble(provider, at, trick)
        answer = await elsewhere.browser().sign_in(provider, person)
        await elsewhere.behave()
        assert (answer.status_code, answer.json()["code"]) == (502, "provider_failed"), (at, answer.text)
    assert await nobody_came(elsewhere, person)


@pytest.mark.promise("L16")
async def test_a_provider_that_is_slow_is_502(elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    browser, person = elsewhere.browser(), await elsewhere.person()
    code = await browser.visit("github", person)
    await elsewhere.trouble("github", "token", "slow")
    monkeypatch.setattr("auth_service.domain.outbound.SECONDS", 0.5)
    monkeypatch.setattr("auth_service.domain.oauth.SECONDS_IN_ALL", 60.0)
    async with asyncio.timeout(20):
        answer = await browser.exchange(code)
    assert (answer.status_code, answer.json()["code"]) == (502, "provider_failed")
    assert await nobody_came(elsewhere, person)


@pytest.mark.promise("L16")
@pytest.mark.parametrize("provider", ["oidc", "facebook"])
async def test_many_slow_answers_are_bounded_as_one(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    browser, person = elsewhere.browser(), await elsewhere.person()
    code = await browser.visit(provider, person)
    await elsewhere.trouble(provider, "me" if provider == "facebook" else "token", "slow")
    monkeypatch.setattr("auth_service.domain.outbound.SECONDS", 60.0)
    monkeypatch.setattr("auth_service.domain.oauth.SECONDS_IN_ALL", 0.3)
    async with asyncio.timeout(20):
        answer = await browser.exchange(code)
    assert (answer.status_code, answer.json()["code"]) == (502, "provider_failed")
    assert await nobody_came(elsewhere, person)


@pytest.mark.promise("L16")
async def test_a_crowd_does_not_wait_in_turn_for_a_slow_provider(
    elsewhere: Elsewhere, open_api: OpenApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One asks for all; without a bound on the waiting the last would wait for as many times as there are others."""
    monkeypatch.setattr("auth_service.domain.outbound.SECONDS", 0.5)
    monkeypatch.setattr("auth_service.domain.oauth.SECONDS_IN_ALL", 0.6)
    async with open_api(clock=elsewhere.api.clock, **settings(elsewhere.origin)) as api:
        await elsewhere.trouble("oidc", "discovery", "slow", times=100)
        async with asyncio.timeout(20):
            answers = await asyncio.gather(
                *(api.post(f"{PROVIDERS}/oidc/begin", {"return_to": PAGE}) for _ in range(60))
            )
    assert {answer.status_code for answer in answers} == {502}


@pytest.mark.promise("L16")
@pytest.mark.parametrize("trick", ["huge", "nonsense", "redirect", "server_error", "another_issuer"])
async def test_a_provider_whose_description_is_wrong_is_502(
    elsewhere: Elsewhere, open_api: OpenApi, trick: str
) -> None:
    async with open_api(clock=elsewhere.api.clock, **settings(elsewhere.origin)) as api:
        await elsewhere.trouble("oidc", "discovery", trick)
        answer = await api.post(f"{PROVIDERS}/oidc/begin", {"return_to": PAGE})
        assert (answer.status_code, answer.json()["code"]) == (502, "provider_failed")
        assert (await api.post(f"{PROVIDERS}/oidc/begin", {"return_to": PAGE})).status_code == 200


@pytest.mark.promise("Z4")
@pytest.mark.parametrize("provider", ["github", "facebook"])
async def test_nor_is_one_without_a_description(elsewhere: Elsewhere, open_api: OpenApi, provider: str) -> None:
    body = {"code": "abc", "redirect_uri": PAGE, "code_verifier": "v" * 43}
    async with open_api(
        clock=elsewhere.api.clock, **settings(elsewhere.origin, provider_private_networks=False)
    ) as api:
        answer = await api.post(f"{PROVIDERS}/{provider}/token", body)
        assert (answer.status_code, answer.json()["code"]) == (502, "provider_failed")
        answer = await api.post("/api/auth/login/facebook/", body)
        assert (answer.status_code, answer.json()["error"]) == (400, "Failed to authenticate with Facebook")


@pytest.mark.promise("Z4")
async def test_a_provider_inside_is_not_visited_unless_that_is_allowed(elsewhere: Elsewhere, open_api: OpenApi) -> None:
    async with open_api(
        clock=elsewhere.api.clock, **settings(elsewhere.origin, provider_private_networks=False)
    ) as api:
        answer = await api.post(f"{PROVIDERS}/oidc/begin", {"return_to": PAGE})
        assert (answer.status_code, answer.json()["code"]) == (502, "provider_failed")
