from typing import Any

import pytest


async def test_everything_is_on_until_switched_off(as_user: Any) -> None:
    await as_user().call("PATCH", "/preferences", json={"email": {"enabled": False}})
    on = {
        "enabled": True,
        "categories": {"account": True, "mention": True, "message": True},
        "always_sent": ["security"],
    }
    channels = ("email", "inapp", "push", "sms", "telegram", "webpush", "whatsapp")
    assert await as_user().get("/preferences") == {**dict.fromkeys(channels, on), "quiet_hours": None}


@pytest.mark.promise("N55")
async def test_switches_change_alone_and_stay(as_user: Any) -> None:
    me = as_user()
    await me.call("PATCH", "/preferences", json={"email": {"categories": {"message": False, "build": False}}})
    await me.call("PATCH", "/preferences", json={"email": {"enabled": False}})
    changed = await me.call("PATCH", "/preferences", json={"email": {"categories": {"build": True}}})
    assert changed.status_code == 200
    assert (await me.get("/preferences"))["email"] == {
        "enabled": False,
        "categories": {"account": True, "build": True, "mention": True, "message": False},
        "always_sent": ["security"],
    }


@pytest.mark.promise("A45", "N55")
async def test_security_mails_cannot_be_switched_off(as_user: Any) -> None:
    me = as_user()
    answer = await me.call("PATCH", "/preferences", json={"email": {"categories": {"security": False}}})
    assert (answer.status_code, answer.json()["code"]) == (422, "not_switchable")


async def test_number_of_categories_is_bounded(as_user: Any) -> None:
    me = as_user()
    many = {f"category_{n}": False for n in range(46)}
    assert (await me.call("PATCH", "/preferences", json={"email": {"categories": many}})).status_code == 200
    more = {"email": {"categories": {"one_too_many": True}}}
    assert (await me.call("PATCH", "/preferences", json=more)).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        {"email": {"enabled": "perhaps"}}, {"email": {"categories": {"*": False}}},
        {"email": {"categories": {"A b": True}}},
        {"email": {"categories": ["message"]}}, {"slack": {"enabled": False}}, {"email": None}, [],
        {"email": {"categories": {f"c{n}": True for n in range(51)}}},
    ],
)  # fmt: skip
async def test_bad_switch_is_refused(as_user: Any, body: Any) -> None:
    assert (await as_user().call("PATCH", "/preferences", json=body)).status_code == 422
