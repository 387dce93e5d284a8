"""Which passwords are good, and how they are kept and compared."""

import asyncio
import json
from typing import Any

import pytest
from passlib.hash import argon2, bcrypt

from auth_service.domain import passwords
from auth_service.domain.hashing import Hasher
from auth_service.errors import Busy
from auth_service.settings import Settings
from tests.auth.api import PASSWORD, Account, Api, fields, unique
from tests.auth.conftest import OpenApi
from tests.auth.test_startup import PRODUCTION

REGISTER = "/api/v1/auth/register"


async def refusal(api: Api, password: str, **names: str) -> str | None:
    """What is wrong with a password, or None."""
    body = {"email": f"{unique()}@example.com", **names, "password": password}
    answer = await api.post(REGISTER, body)
    return None if answer.status_code == 201 else fields(answer)["password"]


async def store(api: Api, account: Account, password_hash: str) -> None:
    await api.sql("UPDATE passwords SET hash = :hash WHERE user_id = :id", hash=password_hash, id=account.id)


async def stored(api: Api, account: Account) -> str:
    rows = await api.sql("SELECT hash FROM passwords WHERE user_id = :id", id=account.id)
    return str(rows[0].hash)


@pytest.mark.promise("A4")
@pytest.mark.parametrize(
    "password",
    [
        "8 chars!",
        "no digits or capitals at all",
        "   leading and trailing   ",
        "пароль-как-нельзя-лучше",
        "🔑" * 7 + "🗝️",
        "four" * 64,
    ],
)
async def test_any_characters_are_good(api: Api, password: str) -> None:
    made = await api.register(password=password)
    assert (await api.sign_in(email=made.email, password=password)).status_code == 200


@pytest.mark.promise("A4", "L4")
async def test_a_long_password_counts_to_its_last_character(api: Api) -> None:
    beginning = "correct horse battery staple " * 4
    made = await api.register(password=beginning + "a")
    assert (await api.sign_in(email=made.email, password=beginning + "b")).status_code == 401
    assert (await api.sign_in(email=made.email, password=beginning + "a")).status_code == 200


@pytest.mark.promise("L4")
async def test_composed_and_decomposed_are_the_same_password(api: Api) -> None:
    made = await api.register(password="caf\u00e9 au lait")
    assert (await api.sign_in(email=made.email, password="cafe\u0301 au lait")).status_code == 200


@pytest.mark.promise("L4")
@pytest.mark.parametrize("length", [0, 7, 257, 5000])
async def test_lengths_out_of_bounds_are_refused(api: Api, length: int) -> None:
    assert await refusal(api, ("ab1 " * 2000)[:length])


@pytest.mark.promise("L4")
@pytest.mark.parametrize(
    ("password", "status"),
    [("a b" * 90, 422), ("x" * (1 << 20), 413), ("nul\x00 horse battery", 422), ("half \ud83d battery", 422)],
    ids=["270", "1 MiB", "NUL", "surrogate"],
)
async def test_what_is_no_password_is_refused_at_registering_and_at_signing_in(
    api: Api, password: str, status: int
) -> None:
    content = json.dumps({"email": f"{unique()}@example.com", "password": password})
    for path in (REGISTER, "/api/v1/auth/token"):
        answer = await api.call("POST", path, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == status


@pytest.mark.promise("A5")
@pytest.mark.parametrize(
    "password",
    ["password", "Password1", "PASSWORD123!", "iloveyou", "12345678", "87654321", "aaaaaaaa", "abababab", "qwertyuiop",
     "abcdefghij", "zyxwvuts", "!!dragon99", "Parleychat1", "parley2026!",
     "trustno1", "superman", "Midnight12", "Contraseña",
     "".join(chr(ord(c) + 0xFEE0) for c in "password")],
)  # fmt: skip
async def test_everybodys_passwords_are_refused(api: Api, password: str) -> None:
    assert await refusal(api, password) == "This password is too common."


@pytest.mark.promise("A5")
async def test_ones_own_names_are_no_passwords(api: Api) -> None:
    name = unique()
    for password in (name, f"{name}1", name.upper(), f"{name}@example.com", f"!{name}2026"):
        assert await refusal(api, password, email=f"{name}@example.com") == "This password is too common."
    assert await refusal(api, "Lovelace1815", first_name="Ada", last_name="Lovelace")


async def test_a_password_that_only_contains_a_name_is_good(api: Api) -> None:
    assert await refusal(api, "lovelace wrote the first program", last_name="Lovelace") is None


@pytest.mark.promise("A5")
def test_the_list_has_thousands_of_words() -> None:
    """Of which the ones that are long enough are refused as they are, the shorter ones with something added."""
    assert len(passwords._common_words()) > 10_000


@pytest.mark.promise("A4")
async def test_a_password_that_is_alone_can_be_required_to_be_long(open_api: OpenApi) -> None:
    async with open_api(password_profile="nist") as api:
        assert (
            await refusal(api, "14 characters!")
            == "This password is too short. It must contain at least 15 characters."
        )
        assert await refusal(api, "15 characters!!") is None


@pytest.mark.promise("A6")
async def test_hashes_have_the_parameters_that_we_chose(api: Api) -> None:
    made = await api.register()
    assert (await stored(api, made)).startswith("$argon2id$v=19$m=19456,t=2,p=1$")


@pytest.mark.promise("A6")
@pytest.mark.parametrize(("memory", "rounds"), [(19_456, 1), (7_000, 10), (7_168, 4)])
def test_cheaper_hashes_are_for_development(memory: int, rounds: int) -> None:
    chosen = {"hashing_memory_kib": memory, "hashing_rounds": rounds}
    with pytest.raises(ValueError, match="guessed too fast"):
        Settings(**{**PRODUCTION, **chosen})
    assert Settings(environment="development", **chosen).hashing_rounds == rounds
    assert Settings(**{**PRODUCTION, "hashing_memory_kib": 7_168, "hashing_rounds": 5})


@pytest.mark.promise("A6")
@pytest.mark.parametrize(
    "scheme",
    [bcrypt.using(rounds=4), argon2.using(type="ID", memory_cost=8192, rounds=1, parallelism=1)],
    ids=["bcrypt", "weak argon2"],
)
async def test_an_old_hash_is_replaced_at_the_next_sign_in(api: Api, scheme: Any) -> None:
    made, old = await api.register(), scheme.hash(PASSWORD)
    await store(api, made, old)
    assert (await api.sign_in(email=made.email, password="wrong horse battery")).status_code == 401
    assert await stored(api, made) == old
    assert (await api.sign_in(email=made.email)).status_code == 200
    assert (await stored(api, made)).startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert (await api.sign_in(email=made.email)).status_code == 200


@pytest.mark.promise("L4")
@pytest.mark.parametrize("tail", ["", "b", "\x00"])
async def test_bcrypt_does_not_pass_on_the_first_72_bytes(api: Api, tail: str) -> None:
    made = await api.register()
    await store(api, made, bcrypt.using(rounds=4).hash("a" * 72))
    answer = await api.sign_in(email=made.email, password="a" * 72 + tail)
    assert answer.status_code == {"": 200, "b": 401, "\x00": 422}[tail]


@pytest.mark.promise("A9")
@pytest.mark.parametrize(
    "hostile",
    [
        "$argon2id$v=19$m=99999999,t=2,p=1$BcBYy9k7h5DyvnduDaEUAg$pNUyNWhvIyKikFkiTZAxfQRk9rwm6k2z2+DMb4wlZt0",
        "$argon2id$v=19$m=19456,t=9999,p=1$BcBYy9k7h5DyvnduDaEUAg$pNUyNWhvIyKikFkiTZAxfQRk9rwm6k2z2+DMb4wlZt0",
        "$argon2id$v=19$m=19456,t=2,p=99$BcBYy9k7h5DyvnduDaEUAg$pNUyNWhvIyKikFkiTZAxfQRk9rwm6k2z2+DMb4wlZt0",
        "$2b$31$7qC7tdb/e0T2eWMIan8r9eRYfGovnpaqZv./Akr6jV6qNRZR1Iyg2",
        "$argon2id$v=19$m=0,t=0,p=0$BcBYy9k7h5DyvnduDaEUAg$pNUyNWhvIyKikFkiTZAxfQRk9rwm6k2z2+DMb4wlZt0",
        "$argon2id$v=19$m=8,t=1,p=1$a$b",
        "$2b$00$7qC7tdb/e0T2eWMIan8r9eRYfGovnpaqZv./Akr6jV6qNRZR1Iyg2",
        "$5$rounds=999999999$salt$hash",
        "plain text",
        "",
    ],
)
async def test_a_hash_that_is_too_expensive_or_unknown_matches_nothing(api: Api, hostile: str) -> None:
    made = await api.register()
    await store(api, made, hostile)
    assert (await api.sign_in(email=made.email)).status_code == 401


@pytest.mark.promise("A7")
async def test_the_loop_turns_while_passwords_are_hashed(api: Api) -> None:
    made = await api.register()
    finished: list[str] = []

    async def sign_in() -> None:
        await api.sign_in(email=made.email, password="wrong horse battery")
        finished.append("sign-in")

    async def look() -> None:
        await api.get("/health/live")
        finished.append("look")

    sign_ins = [asyncio.create_task(sign_in()) for _ in range(16)]
    await asyncio.sleep(0)
    await asyncio.gather(*(look() for _ in range(16)))
    await asyncio.gather(*sign_ins)
    assert finished[:8] == ["look"] * 8


@pytest.mark.promise("A7")
async def test_more_sign_ins_than_the_queue_holds_are_told_to_come_back(api: Api) -> None:
    made = await api.register()
    answers = await asyncio.gather(*(api.sign_in(email=made.email) for _ in range(64)))
    statuses = [a.status_code for a in answers]
    assert set(statuses) == {200, 503}
    busy = next(a for a in answers if a.status_code == 503)
    assert busy.json()["code"] == "busy"
    assert busy.headers["Retry-After"] == "1"
    assert (await api.sign_in(email=made.email)).status_code == 200


async def test_who_leaves_gives_the_place_back_when_the_thread_is_free() -> None:
    hasher = Hasher(threads=1)
    first = asyncio.create_task(hasher.hash(PASSWORD))
    await asyncio.sleep(0.001)
    first.cancel()
    for _ in range(3):
        assert (await hasher.verify(await hasher.hash(PASSWORD), PASSWORD)).matches
    hasher.close()


@pytest.mark.promise("A7")
async def test_who_waits_too_long_for_a_thread_is_told_to_come_back() -> None:
    hasher = Hasher(threads=1, wait_seconds=0.001)
    async with hasher._free:
        results = await asyncio.gather(*(hasher.hash(PASSWORD) for _ in range(4)), return_exceptions=True)
    assert all(isinstance(result, Busy) for result in results)
    assert isinstance(await hasher.hash(PASSWORD), str)
    hasher.close()


@pytest.mark.promise("A8")
async def test_unknown_people_cost_a_hash_too(api: Api) -> None:
    """Seen from the queue: a full one refuses an unknown name as it refuses a known one."""
    names = [f"{unique()}@example.com" for _ in range(64)]
    answers = await asyncio.gather(*(api.sign_in(email=name) for name in names))
    assert {a.status_code for a in answers} == {401, 503}
