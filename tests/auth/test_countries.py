"""Binding one's own account to countries."""

import pytest

from tests.auth.api import Account, Api

COUNTRIES = "/api/v1/users/me/countries"
pytestmark = pytest.mark.promise("A62")


async def choose(api: Api, made: Account, *countries: str, **about: str) -> tuple[int, dict[str, object]]:
    body = {"allowed_countries": list(countries) or None}
    answer = await api.call("PUT", COUNTRIES, made.access, json=body, **about)
    return answer.status_code, answer.json()


async def test_nobody_signs_in_from_elsewhere(api: Api) -> None:
    made, other = await api.register(), await api.register()
    assert await choose(api, made, "SE", "NO", "SE") == (200, {"allowed_countries": ["NO", "SE"]})
    assert (await api.get(COUNTRIES, made.access)).json() == {"allowed_countries": ["NO", "SE"]}
    assert (await api.sign_in(email=made.email, country="KP")).json()["code"] == "country_blocked"
    assert (await api.sign_in(email=made.email, country="NO")).status_code == 200
    assert (await api.sign_in(email=made.email)).status_code == 200
    assert (await api.sign_in(email=other.email, country="KP")).status_code == 200


async def test_a_wrong_password_from_elsewhere_does_not_tell(api: Api) -> None:
    made = await api.register()
    await choose(api, made, "SE")
    assert (await api.sign_in("quite another one", email=made.email, country="KP")).status_code == 401


async def test_the_country_one_is_in_must_be_among_them(api: Api) -> None:
    made = await api.register()
    status, body = await choose(api, made, "SE", country="DE")
    assert (status, body["errors"]) == (
        422,
        [{"field": "allowed_countries", "message": "You are in DE, which must be among them."}],
    )
    assert (await choose(api, made, "SE", "DE", country="DE"))[0] == 200


async def test_all_countries_again(api: Api) -> None:
    made = await api.register()
    await choose(api, made, "SE")
    assert await choose(api, made) == (200, {"allowed_countries": None})
    assert (await api.sign_in(email=made.email, country="KP")).status_code == 200


async def test_the_owner_is_told_of_a_change_and_it_is_recorded(api: Api) -> None:
    made = await api.register()
    await choose(api, made, "SE")
    await choose(api, made, "SE")
    assert [mail.kind for mail in await api.mails(made.email)].count("countries_changed") == 1
    assert [row.data for row in await api.audit("user.restricted", subject_id=made.id)] == [{"countries": ["SE"]}]


async def test_an_old_proof_is_not_enough(aging: Api) -> None:
    made = await aging.register()
    aging.clock.advance(301)
    status, body = await choose(aging, made, "SE")
    assert (status, body["code"]) == (403, "reauth_required")


@pytest.mark.parametrize("countries", ["SE", ["se"], ["SWE"], ["S"], [1], ["SE"] * 251, {}], ids=str)
async def test_what_is_no_list_of_countries_is_refused(api: Api, countries: object) -> None:
    made = await api.register()
    answer = await api.call("PUT", COUNTRIES, made.access, json={"allowed_countries": countries})
    assert answer.status_code == 422
