"""Finding people: lists, filters, search, who is here."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from tests.auth.api import PASSWORD, Account, Api, fields, unique
from tests.auth.conftest import OpenApi
from tests.auth.people import befriend, block, choose, confirm, phone, staff

USERS = "/api/v1/users"


async def filtered(api: Api, looking: Account, **query: Any) -> list[str]:
    """The ids of all who match."""
    answer = await api.get(USERS, looking.access, params=query)
    assert answer.status_code == 200, answer.text
    found = [user["id"] for user in answer.json()["results"]]
    while following := answer.json()["next"]:
        answer = await api.get(following, looking.access)
        found += [user["id"] for user in answer.json()["results"]]
    return found


async def searched(api: Api, looking: Account, query: str, limit: int = 20) -> list[str]:
    answer = await api.post(f"{USERS}/search", {"query": query, "limit": limit}, looking.access)
    assert answer.status_code == 200, answer.text
    assert answer.json()["count"] == len(answer.json()["results"])
    return [user["id"] for user in answer.json()["results"]]


def ids(*people: Account) -> set[str]:
    return {str(person.id) for person in people}


async def verified(api: Api, **changed: Any) -> Account:
    """Whose addresses are confirmed."""
    made = await api.register(**changed)
    await confirm(api, made)
    await api.sql("UPDATE identifiers SET verified_at = now() WHERE user_id = :id", id=made.id)
    return made


@pytest.mark.promise("K42")
async def test_a_name_is_found_by_every_part_of_it(api: Api) -> None:
    looking, word = await api.register(), unique()
    made = await api.register(first_name=f"Zoë{word}", last_name=f"Van der {word}berg")
    for part in (
        word,
        word.upper(),
        f"zoë{word}",
        f"ZOË{word}",
        f"{word} van DER",
        "an der " + word,
        made.username[2:],
    ):
        assert str(made.id) in await filtered(api, looking, name=part), part
        assert str(made.id) in await searched(api, looking, part), part
    assert await filtered(api, looking, name=f"{word}x") == []


@pytest.mark.promise("K42")
async def test_two_characters_are_the_least(api: Api) -> None:
    looking, made = await api.register(), await api.register(first_name="Þx", username=None)
    assert str(made.id) in await filtered(api, looking, name="þX")
    for short in ("", "x", " x "):
        answer = await api.get(USERS, looking.access, params={"name": short})
        assert (answer.status_code, list(fields(answer))) == (422, ["name"])


@pytest.mark.promise("K42")
async def test_filters_are_combined(api: Api) -> None:
    looking, word = await api.register(), unique()
    one, two = [await verified(api, first_name=word) for _ in range(2)]
    three = await api.register(first_name=word)
    for made in (one, two, three):
        await choose(api, made, email="everyone")
    await api.call("PATCH", f"{USERS}/me", two.access, json={"language": "de", "timezone": "Europe/Berlin"})
    assert set(await filtered(api, looking, name=word)) == ids(one, two, three)
    assert set(await filtered(api, looking, name=word, is_verified=True)) == ids(one, two)
    assert set(await filtered(api, looking, name=word, is_verified=False)) == ids(three)
    assert set(await filtered(api, looking, name=word, language="de", timezone="Europe/Berlin")) == ids(two)
    assert set(await filtered(api, looking, name=word, email=one.email.upper())) == ids(one)
    assert await filtered(api, looking, name=word, email=one.email, language="de") == []
    assert await filtered(api, looking, name=word, is_active=False) == []


@pytest.mark.promise("K42")
async def test_people_are_found_by_when_they_came(api: Api) -> None:
    looking, word = await api.register(), unique()
    made = {day: await api.register(first_name=word) for day in (1, 2, 3)}
    for day, person in made.items():
        moment = datetime(2001, 2, day, 23, 59, tzinfo=UTC)
        await api.sql("UPDATE users SET created_at = :at WHERE id = :id", at=moment, id=person.id)
    assert await filtered(api, looking, name=word, created_at__date="2001-02-02") == [str(made[2].id)]
    since = {"created_at__gte": "2001-02-02T23:59:00Z"}
    assert set(await filtered(api, looking, name=word, **since)) == ids(made[2], made[3])
    until = {"created_at__lte": "2001-02-03T00:59:00+01:00"}
    assert set(await filtered(api, looking, name=word, **until)) == ids(made[1], made[2])


@pytest.mark.promise("K33", "K42")
@pytest.mark.parametrize("audience", ["everyone", "contacts", "nobody"])
async def test_a_hidden_value_matches_nothing(api: Api, audience: str) -> None:
    word, number = unique(), phone()
    made = await verified(api, first_name=word, phone_number=number)
    await choose(api, made, email=audience, phone=audience, profile=audience)
    stranger, friend, blocked = [await api.register() for _ in range(3)]
    await befriend(api, made, friend)
    await befriend(api, made, blocked)
    await block(api, made, blocked)
    sees = {stranger: audience == "everyone", friend: audience != "nobody", blocked: False, made: True}
    for looking, allowed in sees.items():
        wanted = [str(made.id)] if allowed else []
        for query in ({"email": made.email}, {"phone": number}, {"phone": f" {number}"}, {"name": word}):
            assert await filtered(api, looking, **query) == wanted, (query, allowed)
        assert await filtered(api, looking, name=word, language="en") == wanted
        assert await searched(api, looking, made.email) == wanted
        assert await searched(api, looking, word) == wanted


@pytest.mark.promise("K33")
async def test_an_unconfirmed_address_finds_nobody(api: Api) -> None:
    looking, made = await api.register(), await api.register()
    await choose(api, made, email="everyone")
    assert await filtered(api, looking, email=made.email) == []
    assert await searched(api, looking, made.email) == []


@pytest.mark.promise("K33")
async def test_a_part_of_an_address_finds_for_staff_alone(api: Api) -> None:
    number = phone()
    made, looking, support = await verified(api, phone_number=number), await api.register(), await staff(api, "support")
    await choose(api, made, email="everyone", phone="everyone")
    parts = ({"email": made.email[2:-3]}, {"phone": number[2:]})
    for query in parts:
        assert await filtered(api, looking, **query) == []
        assert await filtered(api, support, **query) == [str(made.id)]
    assert str(made.id) not in await searched(api, looking, "example.com")


async def test_staff_also_find_who_is_suspended(api: Api) -> None:
    word = unique()
    made, looking, support = await api.register(first_name=word), await api.register(), await staff(api, "support")
    await api.sql("UPDATE users SET status = 'suspended' WHERE id = :id", id=made.id)
    assert await filtered(api, looking, name=word) == []
    assert await filtered(api, support, name=word, is_active=False) == [str(made.id)]
    assert await filtered(api, support, name=word, is_active=True) == []


@pytest.mark.promise("K42", "Z7")
@pytest.mark.parametrize("sign", ["%", "_", "\\", "'", "%%", "__", "*", ".*", "$1", "{}", "\\\\%"])
async def test_signs_of_patterns_are_ordinary(api: Api, sign: str) -> None:
    looking, word = await api.register(), unique()
    made, other = await api.register(first_name=f"{word}{sign}x"), await api.register(first_name=f"{word}yyyx")
    assert set(await filtered(api, looking, name=f"{word}{sign}")) == ids(made)
    assert set(await searched(api, looking, f"{word}{sign}x")) == ids(made)
    assert str(other.id) not in await searched(api, looking, f"{word}{sign}")


@pytest.mark.promise("K25")
async def test_search_says_what_it_needs(api: Api) -> None:
    looking = await api.register()
    bodies: Iterable[Any] = ({}, {"query": ""}, {"query": "  "}, {"query": None})
    for body in bodies:
        answer = await api.post(f"{USERS}/search", body, looking.access)
        assert (answer.status_code, fields(answer)) == (422, {"query": "Search query is required"})
    for limit in (0, 51, "x"):
        answer = await api.post(f"{USERS}/search", {"query": "ab", "limit": limit}, looking.access)
        assert list(fields(answer)) == ["limit"]


async def test_search_shows_the_nearest_first_and_no_more_than_asked(api: Api) -> None:
    looking, word = await api.register(), unique()
    inside = await api.register(username=f"x{word}"[:50])
    begins = [await api.register(username=f"{word}{n}") for n in range(3)]
    found = await searched(api, looking, word)
    assert set(found[:3]) == ids(*begins)
    assert found[3:] == [str(inside.id)]
    assert len(await searched(api, looking, word, limit=2)) == 2


async def test_who_blocked_somebody_is_not_found_by_them(api: Api) -> None:
    word = unique()
    made, other = await api.register(first_name=word), await api.register()
    await block(api, made, other)
    assert await searched(api, other, word) == await filtered(api, other, name=word) == []
    assert await searched(api, other, made.username) == []


async def test_a_new_name_finds_and_the_old_one_does_not(api: Api) -> None:
    looking, old, new = await api.register(), unique(), unique()
    made = await api.register(first_name=old)
    await api.call("PATCH", f"{USERS}/me", made.access, json={"first_name": new, "username": f"n{new}"})
    assert await searched(api, looking, old) == await searched(api, looking, made.username) == []
    assert await searched(api, looking, new) == await searched(api, looking, f"n{new}") == [str(made.id)]


@pytest.mark.promise("K31")
async def test_pages_lead_forward_and_back_over_everything_once(api: Api) -> None:
    looking, word = await api.register(), unique()
    made = [await api.register(first_name=word) for _ in range(7)]
    wanted = [str(m.id) for m in reversed(made)]
    answer = await api.get(USERS, looking.access, params={"name": word, "limit": 3})
    pages = [answer.json()]
    assert (pages[0].keys(), pages[0]["previous"]) == ({"results", "next", "previous"}, None)
    await asyncio.gather(*(api.register(first_name=word) for _ in range(3)))
    while pages[-1]["next"]:
        pages.append((await api.get(pages[-1]["next"], looking.access)).json())
    assert [user["id"] for page in pages for user in page["results"]] == wanted
    back = pages[-1]
    seen = [user["id"] for user in back["results"]]
    while back["previous"]:
        back = (await api.get(back["previous"], looking.access)).json()
        assert len(back["results"]) <= 3
        seen = [user["id"] for user in back["results"]] + seen
    assert seen[-7:] == wanted
    assert len(seen) == len(set(seen)) == 10


@pytest.mark.promise("K31")
async def test_pages_have_bounds_and_a_count_when_asked(api: Api) -> None:
    looking, word = await api.register(), unique()
    for _ in range(3):
        await api.register(first_name=word)
    page = (await api.get(USERS, looking.access, params={"name": word, "limit": 2, "count": True})).json()
    assert (len(page["results"]), page["count"]) == (2, 3)
    assert (await api.get(page["next"], looking.access)).json()["count"] == 3
    assert len((await api.get(USERS, looking.access)).json()["results"]) <= 20
    for wrong in ({"limit": 101}, {"limit": 0}, {"cursor": "x"}, {"cursor": "~x"}, {"cursor": "WyJ4Il0"}):
        answer = await api.get(USERS, looking.access, params=wrong)
        assert (answer.status_code, list(fields(answer))) == (422, list(wrong))


@pytest.mark.parametrize(
    "query",
    [
        {"created_at__gte": "0001-01-01T00:00:00+14:00"},
        {"created_at__lte": "9999-12-31T23:59:59-14:00"},
        {"created_at__date": "9999-12-31"},
        {"created_at__date": "soon"},
        {"is_active": "perhaps"},
        {"name": "a\x00b"},
        {"email": "a\x00b"},
        {"name": "x" * 321},
    ],
)
async def test_odd_filters_are_refused(api: Api, query: dict[str, str]) -> None:
    looking = await api.register()
    answer = await api.get(USERS, looking.access, params=query)
    assert (answer.status_code, list(fields(answer))) == (422, list(query))


@pytest.mark.promise("K25")
async def test_one_makes_an_account_for_somebody_else(api: Api) -> None:
    made, name = await api.register(), unique()
    body = {"email": f"{name}@example.com", "username": name, "password": PASSWORD, "first_name": "G", "last_name": "H"}
    answer = await api.post(USERS, body, made.access)
    assert answer.status_code == 201, answer.text
    assert (answer.json()["username"], answer.json()["display_name"]) == (name, "G H")
    assert answer.json().keys() == (await api.get(f"{USERS}/{made.id}", made.access)).json().keys()
    assert (await api.sign_in(email=f"{name}@example.com")).status_code == 200
    again = await api.post(USERS, {**body, "username": unique()}, made.access)
    assert (again.status_code, fields(again)) == (422, {"email": "user with this email already exists."})
    again = await api.post(USERS, {**body, "email": f"{unique()}@example.com"}, made.access)
    assert (again.status_code, fields(again)) == (422, {"username": "user with this username already exists."})
    assert (await api.post(USERS, body)).status_code == 401


@pytest.mark.promise("Z3")
@pytest.mark.parametrize("change", [{"username": "ab"}, {"password": "short"}, {"email": "x"}, {"roles": ["admin"]}])
async def test_an_account_for_somebody_else_is_an_ordinary_one(api: Api, change: dict[str, Any]) -> None:
    made, name = await api.register(), unique()
    body = {"email": f"{name}@example.com", "username": name, "password": PASSWORD, **change}
    answer = await api.post(USERS, body, made.access)
    assert (answer.status_code, list(fields(answer))) == (422, list(change))


async def test_accounts_for_others_are_counted_refused_ones_too(open_api: OpenApi) -> None:
    async with open_api() as api:
        made = await api.register()
        body = {"email": made.email, "username": unique(), "password": PASSWORD}
        answers = [await api.post(USERS, body, made.access) for _ in range(21)]
        assert [a.status_code for a in answers] == [422] * 20 + [429]
        api.clock.advance(3601)
        fresh = (await api.sign_in(username=made.username)).json()["access"]
        assert (await api.post(USERS, body, fresh)).status_code == 422


async def test_where_addresses_must_be_confirmed_nobody_learns_of_one(strict: Api, api: Api) -> None:
    made, name = await api.register(), unique()
    answers = [
        await strict.post(USERS, {"email": email, "username": unique(), "password": PASSWORD}, made.access)
        for email in (f"{name}@example.com", made.email)
    ]
    assert [(a.status_code, a.json()) for a in answers] == [(202, {"status": "verification_sent"})] * 2


async def came(api: Api, made: Account, *, online: bool, ago: timedelta) -> None:
    values = {"id": made.id, "online": online, "at": api.clock.now() - ago}
    await api.sql("INSERT INTO presence VALUES (:id, :online, :at)", **values)


@pytest.mark.promise("K25")
async def test_who_is_here_is_shown_to_those_who_may_know(api: Api) -> None:
    await api.sql("DELETE FROM presence")
    looking = await api.register()
    here, just_left, long_gone, hidden, blocker, secret = [await api.register() for _ in range(6)]
    await came(api, here, online=True, ago=timedelta(hours=3))
    await came(api, just_left, online=False, ago=timedelta(minutes=4))
    await came(api, long_gone, online=False, ago=timedelta(minutes=6))
    for made in (hidden, blocker):
        await came(api, made, online=True, ago=timedelta())
    await came(api, secret, online=False, ago=timedelta(minutes=1))
    await choose(api, hidden, online="nobody")
    await choose(api, secret, last_seen="nobody")
    await block(api, blocker, looking)
    answer = (await api.get(f"{USERS}/online", looking.access)).json()
    assert [user["id"] for user in answer["results"]] == [str(just_left.id), str(here.id)]
    assert answer["count"] == 2


async def test_at_most_fifty_are_shown_as_here(api: Api) -> None:
    looking = await api.register()
    await api.sql(
        "INSERT INTO users (id, status, roles, created_at, updated_at)"
        " SELECT gen_random_uuid(), 'active', '{user}', now(), now() FROM generate_series(1, 60)"
    )
    await api.sql("INSERT INTO presence SELECT id, true, now() FROM users ON CONFLICT DO NOTHING")
    assert (await api.get(f"{USERS}/online", looking.access)).json()["count"] == 50
    await api.sql("DELETE FROM presence")


async def test_a_number_is_read_however_its_plus_came(api: Api) -> None:
    number = phone()
    made, looking = await verified(api, phone_number=number), await api.register()
    await choose(api, made, phone="everyone")
    for written in (quote(number), number):
        answer = await api.get(f"{USERS}?phone={written}", looking.access)
        assert [user["id"] for user in answer.json()["results"]] == [str(made.id)]
