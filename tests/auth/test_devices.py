"""Devices that an account knows: nobody else's wrong passwords slow them down, and sign-ins on others are told."""

import hashlib
from typing import Any

import httpx2
import pytest

from libs.testing.clients import some_address
from tests.auth.api import PASSWORD, Account, Api, account, unique
from tests.auth.test_throttles import WRONG, fail, fail_up_to

TOKEN = "X-Device-Token"


async def register(api: Api, **request: Any) -> tuple[Account, str]:
    """An account, and the token of the device that it was made on."""
    name = unique()
    body = {"email": f"{name}@example.com", "username": name, "password": PASSWORD}
    answer = await api.post("/api/v1/auth/register", body, **request)
    assert answer.status_code == 201
    return account(answer), answer.headers[TOKEN]


async def sign_in_on(api: Api, token: str, email: str, password: str = PASSWORD, **request: Any) -> httpx2.Response:
    return await api.sign_in(password, email=email, headers={TOKEN: token}, **request)


async def news(api: Api, email: str) -> list[dict[str, str]]:
    return [dict(mail.variables) for mail in await api.mails(email) if mail.kind == "new_device"]


@pytest.mark.promise("A10", "L3")
async def test_a_hundred_wrong_passwords_do_not_lock_the_owner_out(still: Api) -> None:
    made, device = await register(still)
    await fail_up_to(still, made, 100)
    assert (await still.sign_in(email=made.email, ip=some_address())).status_code == 429
    assert (await sign_in_on(still, device, made.email, ip=some_address())).status_code == 200


@pytest.mark.promise("L2", "L3")
async def test_a_known_device_signs_in_from_a_network_that_is_slowed_down(still: Api) -> None:
    made, device = await register(still)
    for _ in range(50):
        await still.sign_in(WRONG, email=f"{unique()}@example.com")
    assert (await still.sign_in(email=made.email)).status_code == 429
    assert (await sign_in_on(still, device, made.email)).status_code == 200


async def test_a_device_is_known_to_one_account_only(still: Api) -> None:
    (_, foreign), (victim, _) = await register(still), await register(still)
    await fail(still, 6, email=victim.email)
    assert (await sign_in_on(still, foreign, victim.email)).status_code == 429


async def test_a_known_device_gets_no_other_token_and_an_unknown_one_does(api: Api) -> None:
    made, device = await register(api)
    assert TOKEN not in (await sign_in_on(api, device, made.email)).headers
    other = (await sign_in_on(api, "made up", made.email)).headers[TOKEN]
    assert other not in ("made up", device)
    assert TOKEN not in (await sign_in_on(api, other, made.email)).headers


async def test_browsers_keep_the_token_in_a_cookie_that_no_script_reads(api: Api) -> None:
    made, device = await register(api)
    cookie = (await api.sign_in(email=made.email)).headers["Set-Cookie"]
    assert cookie.startswith("__Host-device=")
    for attribute in ("HttpOnly", "Secure", "SameSite=lax", "Path=/", "Max-Age=31536000"):
        assert attribute in cookie
    known = await api.sign_in(email=made.email, headers={"Cookie": f"__Host-device={device}"})
    assert TOKEN not in known.headers


async def test_only_the_digest_of_a_device_is_kept_and_its_sessions_name_it(api: Api) -> None:
    made, device = await register(api)
    await sign_in_on(api, device, made.email)
    rows = await api.sql("SELECT id, hash FROM devices WHERE user_id = :id", id=made.id)
    assert [row.hash for row in rows] == [hashlib.sha256(device.encode()).digest()]
    sessions = await api.sql("SELECT device_id FROM sessions WHERE user_id = :id", id=made.id)
    assert [row.device_id for row in sessions] == [rows[0].id] * 2


@pytest.mark.promise("A10")
async def test_a_device_that_fails_ten_times_is_a_stranger_again(still: Api) -> None:
    made, device = await register(still)
    answers = [await sign_in_on(still, device, made.email, WRONG) for _ in range(16)]
    assert [a.status_code for a in answers] == [401] * 15 + [429]
    assert not await still.sql("SELECT id FROM devices WHERE user_id = :id", id=made.id)


@pytest.mark.promise("A45")
async def test_a_sign_in_on_an_unknown_device_in_an_unknown_place_is_told(api: Api) -> None:
    made, device = await register(api, ip="198.51.100.9", headers={"User-Agent": "Firefox"})
    await api.sign_in(email=made.email, ip="198.51.100.77", headers={"User-Agent": "Firefox"})
    await sign_in_on(api, device, made.email, ip=some_address())
    assert await news(api, made.email) == []
    await api.sign_in(email=made.email, ip="192.0.2.3", headers={"User-Agent": "Chrome"})
    (told,) = await news(api, made.email)
    assert (told["device"], told["place"]) == ("Chrome", "192.0.2.0/24")
    await api.sign_in(email=made.email, ip="192.0.2.4", headers={"User-Agent": "Chrome"})
    assert len(await news(api, made.email)) == 1


async def test_strange_addresses_and_tokens_are_no_fault(api: Api) -> None:
    made = await api.register()
    for ip in ("fe80::1%eth0", "::ffff:192.0.2.1", "nonsense", ""):
        assert (await api.sign_in(email=made.email, ip=ip)).status_code == 200
    for token in ("x" * 5000, "\xff", "a; b=c"):
        assert (await api.sign_in(email=made.email, headers={TOKEN: token.encode("latin-1")})).status_code == 200
