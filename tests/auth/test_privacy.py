"""Who sees what of whom."""

import pytest

from tests.auth.api import Account, Api
from tests.auth.people import befriend, block, choose, confirm, phone, seen_by, staff

HIDDEN = {
    "last_seen": ["last_seen_at"],
    "online": ["is_online"],
    "email": ["email"],
    "phone": ["phone_number"],
    "profile": ["first_name", "last_name", "bio", "avatar_url", "language", "timezone"],
}
# Audience: who of a stranger, a contact, somebody blocked who is a contact as well, and staff sees it.
SEEN = {
    "everyone": {"stranger": True, "contact": True, "blocked": False, "staff": True},
    "contacts": {"stranger": False, "contact": True, "blocked": False, "staff": True},
    "nobody": {"stranger": False, "contact": False, "blocked": False, "staff": True},
}


async def whole(api: Api) -> Account:
    """Somebody of whom there is something to see in every field."""
    made = await api.register(first_name="Ada", last_name="Lovelace", phone_number=phone())
    await confirm(api, made)
    await api.sql("UPDATE identifiers SET verified_at = now() WHERE user_id = :id", id=made.id)
    await api.sql("UPDATE users SET avatar_url = 'https://images.example.com/a' WHERE id = :id", id=made.id)
    await api.sql("INSERT INTO presence VALUES (:id, true, now())", id=made.id)
    return made


@pytest.mark.promise("A52", "K33")
@pytest.mark.parametrize("audience", SEEN)
async def test_each_field_is_seen_by_whom_its_owner_chose(api: Api, audience: str) -> None:
    owner = await whole(api)
    await choose(api, owner, **dict.fromkeys(HIDDEN, audience))
    people = {"stranger": await api.register(), "contact": await api.register(), "blocked": await api.register()}
    people["staff"] = await staff(api, "support")
    await befriend(api, owner, people["contact"])
    await befriend(api, owner, people["blocked"])
    await block(api, owner, people["blocked"])
    for who, sees in SEEN[audience].items():
        shown = await seen_by(api, people[who], owner.id)
        for names in HIDDEN.values():
            assert [shown[name] is not None for name in names] == [sees] * len(names), who
        assert shown["username"] == owner.username
        assert shown["display_name"] == ("Ada Lovelace" if sees else owner.username)


@pytest.mark.promise("K33")
async def test_addresses_are_hidden_unless_their_owner_shows_them(api: Api) -> None:
    owner, stranger = await whole(api), await api.register()
    shown = await seen_by(api, stranger, owner.id)
    assert (shown["email"], shown["phone_number"]) == (None, None)
    assert (shown["first_name"], shown["is_online"]) == ("Ada", True)


@pytest.mark.promise("K33")
async def test_one_field_hides_nothing_else(api: Api) -> None:
    owner, stranger = await whole(api), await api.register()
    everything = dict.fromkeys(HIDDEN, "everyone")
    for field, names in HIDDEN.items():
        await choose(api, owner, **{**everything, field: "nobody"})
        shown = await seen_by(api, stranger, owner.id)
        assert {name for name, value in shown.items() if value is None} == set(names)


async def test_an_unconfirmed_address_is_shown_to_no_stranger(api: Api) -> None:
    owner, stranger = await api.register(), await api.register()
    await choose(api, owner, email="everyone")
    assert (await seen_by(api, stranger, owner.id))["email"] is None
    await confirm(api, owner)
    assert (await seen_by(api, stranger, owner.id))["email"] == owner.email


async def test_one_sees_all_of_oneself(api: Api) -> None:
    owner = await whole(api)
    await choose(api, owner, **dict.fromkeys(HIDDEN, "nobody"))
    assert None not in (await seen_by(api, owner, owner.id)).values()


async def test_being_blocked_hides_only_in_one_direction(api: Api) -> None:
    owner, blocked = await whole(api), await whole(api)
    await block(api, owner, blocked)
    assert (await seen_by(api, blocked, owner.id))["is_online"] is None
    assert (await seen_by(api, owner, blocked.id))["is_online"] is True


async def test_contact_is_what_the_owner_has_not_what_the_stranger_claims(api: Api) -> None:
    owner, stranger = await whole(api), await api.register()
    await choose(api, owner, online="contacts")
    await api.sql("INSERT INTO contacts VALUES (:one, :two)", one=stranger.id, two=owner.id)
    assert (await seen_by(api, stranger, owner.id))["is_online"] is None
