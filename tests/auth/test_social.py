"""Signing in with an account elsewhere."""

import asyncio

import pytest

from deploy.sandbox.identity import challenge_of
from tests.auth.api import Api, account, claims, unique
from tests.auth.conftest import OpenApi
from tests.auth.elsewhere import ALL, OPENID, PAGE, PROVIDERS, VOUCHING, Elsewhere, query, settings
from tests.auth.phones import new_phone


@pytest.mark.promise("A27")
@pytest.mark.parametrize("provider", ALL)
async def test_a_visit_makes_an_account_and_opens_it_again(elsewhere: Elsewhere, provider: str) -> None:
    person = await elsewhere.person()
    first, second = [await elsewhere.browser().sign_in(provider, person) for _ in range(2)]
    assert first.status_code == second.status_code == 200, first.text + second.text
    assert account(first).id == account(second).id
    assert claims(first.json()["access"])["amr"] == ["fed"]
    user = (await elsewhere.api.me(first.json()["access"])).json()
    assert (user["first_name"], user["last_name"]) == ("Ada", "Lovelace")
    assert user["username"] == f"user{user['number']}"
    assert user["email"] == elsewhere.emails[person]


async def test_the_device_is_known_from_then_on(elsewhere: Elsewhere) -> None:
    browser, person = elsewhere.browser(), await elsewhere.person()
    code = await browser.visit("google", person)
    given = (await browser.exchange(code)).headers["x-device-token"]
    code = await browser.visit("google", person)
    known = {**browser.headers, "X-Device-Token": given}
    again = await elsewhere.api.post(f"{PROVIDERS}/exchange", {"code": code}, headers=known)
    assert again.status_code == 200
    assert "x-device-token" not in again.headers


@pytest.mark.promise("A48")
async def test_a_browser_may_have_its_tokens_in_cookies(elsewhere: Elsewhere) -> None:
    browser = elsewhere.browser()
    body = {"code": await browser.visit("google", await elsewhere.person()), "cookie": True}
    foreign = {**browser.headers, "Origin": "https://evil.example.com", "Sec-Fetch-Site": "cross-site"}
    refused = await elsewhere.api.post(f"{PROVIDERS}/exchange", body, headers=foreign)
    assert (refused.status_code, refused.json()["code"]) == (403, "cross_site_request")
    own = {**browser.headers, "Sec-Fetch-Site": "same-origin"}
    answer = await elsewhere.api.post(f"{PROVIDERS}/exchange", body, headers=own)
    assert answer.json().keys() == {"success", "expires_in", "user"}
    assert "__Host-at=" in str(answer.headers.get_list("set-cookie"))


@pytest.mark.promise("A28")
@pytest.mark.parametrize("provider", ALL)
async def test_an_address_is_verified_only_where_the_provider_vouches(elsewhere: Elsewhere, provider: str) -> None:
    known = await elsewhere.browser().sign_in(provider, await elsewhere.person())
    typed = await elsewhere.browser().sign_in(provider, await elsewhere.person(email_verified=False))
    shown = [(await elsewhere.api.me(answer.json()["access"])).json()["email_verified"] for answer in (known, typed)]
    assert shown == [provider in VOUCHING, False]


@pytest.mark.promise("A28")
async def test_identities_of_two_providers_are_two(elsewhere: Elsewhere) -> None:
    person = await elsewhere.person(email=None)
    answers = [await elsewhere.browser().sign_in(provider, person) for provider in ALL]
    assert len({account(answer).id for answer in answers}) == len(ALL)


@pytest.mark.promise("A28")
async def test_an_identity_stays_the_same_when_its_address_changes(elsewhere: Elsewhere) -> None:
    person = await elsewhere.person()
    first = account(await elsewhere.browser().sign_in("google", person))
    await elsewhere.person(id=person, email=f"{unique()}@example.com")
    again = account(await elsewhere.browser().sign_in("google", person))
    assert again.id == first.id
    assert again.email == first.email


@pytest.mark.promise("A28")
@pytest.mark.parametrize("provider", VOUCHING)
async def test_a_confirmed_account_is_linked_by_an_address_both_have_proved(
    elsewhere: Elsewhere, provider: str
) -> None:
    made = await elsewhere.api.register()
    await elsewhere.api.post("/api/v1/auth/email/verify", {"token": await elsewhere.api.link_token(made.email)})
    person = await elsewhere.person(email=made.email)
    answer = await elsewhere.browser().sign_in(provider, person)
    assert account(answer).id == made.id
    assert (await elsewhere.api.me(made.access)).status_code == 200
    assert (await elsewhere.api.sign_in(email=made.email)).status_code == 200
    assert [mail.kind for mail in await elsewhere.api.mails(made.email)][-1] == "identity_linked"


@pytest.mark.promise("A28", "L15")
@pytest.mark.parametrize("provider", ALL)
async def test_an_address_that_nobody_vouches_for_opens_nothing(elsewhere: Elsewhere, provider: str) -> None:
    made = await elsewhere.api.register()
    await elsewhere.api.post("/api/v1/auth/email/verify", {"token": await elsewhere.api.link_token(made.email)})
    person = await elsewhere.person(email=made.email, email_verified=False)
    answer = await elsewhere.browser().sign_in(provider, person)
    assert account(answer).id != made.id
    assert account(answer).email is None
    assert (await elsewhere.api.sql("SELECT 1 FROM identities WHERE user_id = :id", id=made.id)) == []


@pytest.mark.promise("A28")
async def test_where_addresses_must_be_confirmed_nobody_has_one_unproved(
    elsewhere: Elsewhere, open_api: OpenApi
) -> None:
    async with open_api(clock=elsewhere.api.clock, email_verification="required", **settings(elsewhere.origin)) as api:
        free = await elsewhere.person(email_verified=False)
        answer = await elsewhere.browser(api).sign_in("oidc", free)
    assert answer.status_code == 200
    assert account(answer).email is None


@pytest.mark.promise("A29")
@pytest.mark.parametrize("provider", VOUCHING)
async def test_who_registered_with_the_address_before_its_owner_is_out(elsewhere: Elsewhere, provider: str) -> None:
    api = elsewhere.api
    squatter = await api.register()
    link = await api.link_token(squatter.email)
    person = await elsewhere.person(email=squatter.email)
    owner = await elsewhere.browser().sign_in(provider, person)
    assert account(owner).id == squatter.id
    assert await api.ended(squatter.access) in ("token_revoked", "token_stale")
    assert (await api.refresh(squatter.refresh)).status_code == 401
    assert (await api.sign_in(email=squatter.email)).status_code == 401
    assert (await api.me(owner.json()["access"])).json()["email_verified"] is True
    assert (await api.post("/api/v1/auth/email/verify", {"token": link})).status_code == 401
    entries = await api.sql("SELECT action FROM audit WHERE subject_id = :id", id=squatter.id)
    assert "account.reclaimed" in {row.action for row in entries}
    assert "account_reclaimed" in [mail.kind for mail in await api.mails(squatter.email)]


@pytest.mark.promise("A29")
async def test_a_token_that_the_squatter_made_for_a_program_opens_nothing(elsewhere: Elsewhere) -> None:
    squatter = await elsewhere.api.register()
    body = {"name": "for later", "scopes": ["auth:read"]}
    token = (await elsewhere.api.post("/api/v1/auth/api-tokens", body, squatter.access)).json()["token"]
    assert (await elsewhere.api.me(token)).status_code == 200
    await elsewhere.browser().sign_in("google", await elsewhere.person(email=squatter.email))
    assert await elsewhere.api.ended(token) == "invalid_token"
    # Other services remember it for a minute, unless they hear that all they know of its user is outdated.
    assert await elsewhere.api.app.state.redis.get(f"rv:u:{squatter.id}") is not None


@pytest.mark.promise("A29")
async def test_an_account_that_the_squatter_is_leaving_is_kept(elsewhere: Elsewhere) -> None:
    squatter = await elsewhere.api.register()
    assert (await elsewhere.api.call("DELETE", "/api/v1/users/me", squatter.access)).status_code == 204
    owner = await elsewhere.browser().sign_in("google", await elsewhere.person(email=squatter.email))
    assert account(owner).id == squatter.id
    [row] = await elsewhere.api.sql("SELECT deletion_at FROM users WHERE id = :id", id=squatter.id)
    assert row.deletion_at is None


@pytest.mark.promise("A29")
async def test_a_phone_number_that_the_squatter_added_opens_nothing(elsewhere: Elsewhere) -> None:
    squatter = await elsewhere.api.register(phone_number=new_phone())
    await elsewhere.browser().sign_in("google", await elsewhere.person(email=squatter.email))
    rows = await elsewhere.api.sql("SELECT kind FROM identifiers WHERE user_id = :id", id=squatter.id)
    assert {row.kind for row in rows} == {"username", "email"}


@pytest.mark.promise("A29")
async def test_a_squatter_who_proved_something_else_only_loses_the_address(elsewhere: Elsewhere) -> None:
    """Their Facebook account would open it for ever."""
    address = f"{unique()}@example.com"
    squatter = await elsewhere.browser().sign_in("facebook", await elsewhere.person(email=address))
    assert account(squatter).email == address
    owner = await elsewhere.browser().sign_in("google", await elsewhere.person(email=address))
    assert account(owner).id != account(squatter).id
    assert account(owner).email == address
    assert (await elsewhere.api.me(squatter.json()["access"])).json()["email"] is None


@pytest.mark.promise("A29")
async def test_an_unconfirmed_registration_becomes_its_owners(elsewhere: Elsewhere, open_api: OpenApi) -> None:
    address = f"{unique()}@example.com"
    async with open_api(clock=elsewhere.api.clock, email_verification="required", **settings(elsewhere.origin)) as api:
        await api.post("/api/v1/auth/register", {"email": address, "password": "correct horse battery"})
        owner = await elsewhere.browser(api).sign_in("oidc", await elsewhere.person(email=address))
        assert owner.status_code == 200
        assert (await api.sign_in(email=address)).status_code == 401
        assert "UserRegistered" in [name for name, _ in await api.events(account(owner).id)]


async def test_simultaneous_first_visits_make_one_account(elsewhere: Elsewhere) -> None:
    person = await elsewhere.person()
    browsers = [elsewhere.browser() for _ in range(5)]
    codes = [await browser.visit("google", person) for browser in browsers]
    answers = await asyncio.gather(*(b.exchange(code) for b, code in zip(browsers, codes, strict=True)))
    assert [answer.status_code for answer in answers] == [200] * 5
    assert len({account(answer).id for answer in answers}) == 1


async def test_simultaneous_visits_to_two_providers_make_one_account(elsewhere: Elsewhere) -> None:
    person = await elsewhere.person()
    visits = [(elsewhere.browser(), provider) for provider in VOUCHING]
    codes = [await browser.visit(provider, person) for browser, provider in visits]
    answers = await asyncio.gather(*(b.exchange(code) for (b, _), code in zip(visits, codes, strict=True)))
    assert [answer.status_code for answer in answers] == [200] * len(VOUCHING)
    assert len({account(answer).id for answer in answers}) == 1


@pytest.mark.promise("A27")
@pytest.mark.parametrize("provider", ALL)
async def test_the_provider_is_asked_with_pkce_state_and_an_exact_address(elsewhere: Elsewhere, provider: str) -> None:
    browser = elsewhere.browser()
    asked = query(await browser.begin(provider))
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["code_challenge"]) == 43
    assert asked["redirect_uri"] == f"https://api.example.com{PROVIDERS}/{provider}/callback"
    assert ("nonce" in asked) == (provider in OPENID)
    again = query(await browser.begin(provider))
    for name in {"state", "nonce", "code_challenge"} & asked.keys():
        assert again[name] != asked[name]


@pytest.mark.promise("A27")
async def test_the_cookie_is_for_this_host_and_out_of_reach_of_scripts(elsewhere: Elsewhere) -> None:
    answer = await elsewhere.api.post(f"{PROVIDERS}/oidc/begin", {"return_to": PAGE})
    cookie = answer.headers["set-cookie"].lower()
    for part in ("__host-flow=", "httponly", "secure", "samesite=lax", "path=/", "max-age=600"):
        assert part in cookie
    assert "domain" not in cookie


async def test_two_tabs_of_one_browser_do_not_disturb_each_other(elsewhere: Elsewhere) -> None:
    browser, person = elsewhere.browser(), await elsewhere.person()
    first, second = await browser.begin("oidc"), await browser.begin("google")
    for url in (first, second):
        returned = await browser.come_back(await browser.agree(url, person))
        code = returned.headers["location"].partition("#code=")[2]
        assert (await browser.exchange(code)).status_code == 200


async def test_the_providers_are_listed_without_their_secrets(elsewhere: Elsewhere, api: Api) -> None:
    listed = await elsewhere.api.get(PROVIDERS)
    assert [each["name"] for each in listed.json()["results"]] == [
        "oidc",
        "google",
        "microsoft",
        "apple",
        "facebook",
        "github",
    ]
    assert listed.json()["results"][0] == {"name": "oidc", "kind": "oidc", "label": "Sandbox"}
    assert "sandbox-secret" not in listed.text
    assert (await api.get(PROVIDERS)).json() == {"results": []}


async def test_an_unknown_provider_is_not_found(elsewhere: Elsewhere) -> None:
    answer = await elsewhere.api.post(f"{PROVIDERS}/nobody/begin", {"return_to": PAGE})
    assert answer.status_code == 404


async def test_who_does_not_agree_comes_back_with_an_error(elsewhere: Elsewhere) -> None:
    browser = elsewhere.browser()
    returned = await browser.come_back(await browser.agree(await browser.begin("github"), ""))
    assert returned.headers["location"] == f"{PAGE}#error=access_denied"


@pytest.mark.promise("A31")
async def test_any_issuer_can_be_configured(elsewhere: Elsewhere, open_api: OpenApi) -> None:
    own = (
        f'[{{"name": "acme", "kind": "oidc", "client_id": "parley", "client_secret": "sandbox-secret",'
        f' "issuer": "{elsewhere.origin}/identity/oidc"}}]'
    )
    async with open_api(clock=elsewhere.api.clock, **settings(elsewhere.origin, providers=own)) as api:
        assert (await elsewhere.browser(api).sign_in("acme", await elsewhere.person())).status_code == 200


@pytest.mark.promise("A31")
@pytest.mark.parametrize("end", ["/", "?", "#", "/."])
async def test_an_issuer_must_be_called_what_it_calls_itself(elsewhere: Elsewhere, open_api: OpenApi, end: str) -> None:
    own = (
        f'[{{"name": "acme", "kind": "oidc", "client_id": "parley", "client_secret": "s",'
        f' "issuer": "{elsewhere.origin}/identity/oidc{end}"}}]'
    )
    async with open_api(clock=elsewhere.api.clock, **settings(elsewhere.origin, providers=own)) as api:
        answer = await api.post(f"{PROVIDERS}/acme/begin", {"return_to": PAGE})
    assert (answer.status_code, answer.json()["code"]) == (502, "provider_failed")


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        '[{"name": "x", "kind": "oidc", "client_id": "c", "client_secret": "hush-hush"}]',
        '[{"name": "X!", "kind": "google", "client_id": "c", "client_secret": "hush-hush"}]',
        '[{"name": "x", "kind": "other", "client_id": "c", "client_secret": "hush-hush"}]',
        '[{"name": "x", "kind": "google", "client_id": "c", "client_secret": "hush-hush", "extra": 1}]',
    ],
)
async def test_a_wrong_configuration_stops_the_start_and_betrays_no_secret(open_api: OpenApi, text: str) -> None:
    with pytest.raises(ValueError, match=r"AUTH_PROVIDERS|issuer") as stopped:
        async with open_api(providers=text):
            pass
    assert "hush-hush" not in str(stopped.value)


@pytest.mark.promise("A27", "A38", "L10")
async def test_a_second_factor_is_still_asked_for(elsewhere: Elsewhere) -> None:
    person = await elsewhere.person()
    made = account(await elsewhere.browser().sign_in("google", person))
    await elsewhere.api.sql(
        "INSERT INTO totp VALUES (:id, 'sealed', 0, now(), now())",
        id=made.id,
    )
    answer = await elsewhere.browser().sign_in("google", person)
    assert (answer.status_code, answer.json()["code"]) == (403, "mfa_required")
    assert answer.json()["mfa_token"]


@pytest.mark.parametrize("status", ["suspended", "deleted"])
async def test_a_suspended_account_stays_shut_and_as_it_is(elsewhere: Elsewhere, status: str) -> None:
    made = await elsewhere.api.register()
    await elsewhere.api.sql("UPDATE users SET status = :status WHERE id = :id", id=made.id, status=status)
    answer = await elsewhere.browser().sign_in("google", await elsewhere.person(email=made.email))
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")
    assert await elsewhere.api.sql("SELECT 1 FROM passwords WHERE user_id = :id", id=made.id)
    assert await elsewhere.api.sql("SELECT 1 FROM identities WHERE user_id = :id", id=made.id) == []
    audit = "SELECT reason FROM audit WHERE subject_id = :id AND action = 'sign_in.refused'"
    assert [row.reason for row in await elsewhere.api.sql(audit, id=made.id)] == ["invalid_credentials"]


@pytest.mark.promise("A27")
@pytest.mark.parametrize("provider", ["oidc", "google", "github", "facebook"])
async def test_an_app_that_made_the_visit_itself_brings_code_and_verifier(elsewhere: Elsewhere, provider: str) -> None:
    verifier, nonce, person = unique() * 3, unique() * 2, await elsewhere.person()
    code = await code_of_app(elsewhere, provider, person, verifier=verifier, nonce=nonce)
    body = {"code": code["code"], "redirect_uri": PAGE, "code_verifier": verifier, "nonce": nonce}
    body |= {"iss": code["iss"]} if "iss" in code else {}
    answer = await elsewhere.api.post(f"{PROVIDERS}/{provider}/token", body)
    assert answer.status_code == 200, answer.text
    assert account(answer).email == elsewhere.emails[person]


async def code_of_app(
    elsewhere: Elsewhere, provider: str, person: str, *, verifier: str, nonce: str, page: str = PAGE
) -> dict[str, str]:
    asked = {"client_id": "parley", "redirect_uri": page, "response_type": "code", "nonce": nonce}
    asked |= {"code_challenge": challenge_of(verifier), "code_challenge_method": "S256"}
    address = f"/identity/{provider}/authorize?" + "&".join(f"{k}={v}" for k, v in asked.items())
    return query(await elsewhere.browser().agree(address, person))
