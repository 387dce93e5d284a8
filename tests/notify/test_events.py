"""What notify makes of the events of auth and chat."""

from typing import Any
from uuid import uuid4

import pytest

from libs.contracts.accounts import UserRegistered
from tests.notify.world import World, eventually


async def inbox(as_user: Any, world: World, profile: Any) -> list[Any]:
    await world.heard()
    found = await as_user(profile.user_id).get("/notifications")
    return list(found["results"])


async def test_new_user_is_welcomed_in_the_inbox(world: World, as_user: Any) -> None:
    ada = await world.register()
    shown = await inbox(as_user, world, ada)
    assert [(n["category"], n["title"]) for n in shown] == [("account", "Welcome to Parley")]


async def test_who_was_away_finds_a_notification_and_a_mail(world: World, as_user: Any) -> None:
    ada, grace = await world.register(), await world.register()
    said = await world.say(ada, excerpt="Tea?\nAt <five>", sender_name="Grace & Co")
    (row,) = await world.ended(ada)
    newest = (await inbox(as_user, world, ada))[0]
    assert (newest["category"], newest["title"], newest["message"]) == ("message", "Grace & Co", "Tea?\nAt <five>")
    assert newest["actor"] == {"id": str(said.sender_id), "name": "Grace & Co"}
    assert newest["data"] == {"conversation_id": str(said.conversation_id), "seq": 1}
    (mail,) = world.mails(ada)
    assert (row["state"], mail.subject) == ("sent", "New message from Grace & Co")
    assert "Tea?" in mail.text
    assert "At &lt;five&gt;" in mail.html
    assert world.mails(grace) == []


async def test_mail_names_the_group_of_the_message(world: World) -> None:
    ada = await world.register()
    await world.say(ada, conversation_type="group", conversation_name="Tea club")
    await world.ended(ada)
    assert world.mails(ada)[0].subject == "New message from Grace Hopper in Tea club"


@pytest.mark.parametrize("changed", [{"verified": False}, {"email": None}], ids=["unverified", "none"])
async def test_address_that_nobody_proved_gets_no_mail(world: World, as_user: Any, changed: Any) -> None:
    ada = await world.register(**changed)
    await world.say(ada)
    assert len(await inbox(as_user, world, ada)) == 2
    assert await world.deliveries(ada) == []


async def test_profile_follows_the_newest_version_only(world: World) -> None:
    ada = await world.register()
    newer = await world.update(ada, email=f"new-{ada.email}")
    await world.update(ada.model_copy(update={"version": 0}), email=f"old-{ada.email}")
    await world.say(ada)
    (row,) = await world.ended(ada)
    assert row["address"] == newer.email


async def test_missing_profile_is_asked_for_once(world: World) -> None:
    stranger = world.profile()
    await world.say(stranger)
    await world.say(stranger)
    rows = await world.ended(stranger, 2)
    assert [row["state"] for row in rows] == ["sent", "sent"]
    assert world.auth.asked.count(stranger.user_id) == 1


async def test_user_whom_auth_does_not_know_still_finds_the_notification(world: World, as_user: Any) -> None:
    ghost = world.profile()
    del world.auth.profiles[ghost.user_id]
    await world.say(ghost)
    assert len(await inbox(as_user, world, ghost)) == 1


@pytest.mark.promise("N3")
async def test_occasion_told_twice_makes_one_notification_and_one_mail(world: World, as_user: Any) -> None:
    ada = await world.register()
    said = await world.say(ada)
    await world.chat.emit(said)
    await world.say(ada, **said.model_dump(exclude={"away"}))
    assert [n["category"] for n in await inbox(as_user, world, ada)] == ["message", "account"]
    await world.ended(ada)
    assert len(world.mails(ada)) == 1


@pytest.mark.promise("N3")
async def test_code_asked_for_twice_by_one_event_is_sent_once(world: World) -> None:
    ada = await world.register()
    asked = await world.ask_to_verify(ada)
    await world.auth.emit(asked)
    await world.heard()
    await world.ended(ada)
    assert len(world.mails(ada)) == 1


async def test_events_heard_again_have_no_second_effect(own_world: World) -> None:
    world = own_world
    ada = world.profile()
    async with world.working():
        await world.auth.emit(UserRegistered(profile=ada))
        await world.say(ada)
        await world.ask_to_verify(ada)
        await world.ended(ada, 2)
    # As if the position had been restored from a backup.
    await world.sql("UPDATE consumer_position SET position = 0")
    async with world.working():
        await world.heard()
        await world.ended(ada, 2)
    (inbox_size,) = await world.sql("SELECT count(*) AS n FROM notification WHERE user_id = $1", ada.user_id)
    assert (inbox_size["n"], len(world.mails(ada))) == (2, 2)


async def test_verification_mail_carries_the_secret_and_notify_forgets_it(world: World) -> None:
    ada = await world.register(verified=False)
    asked = await world.ask_to_verify(ada, secret="tell-nobody")
    (row,) = await world.ended(ada)
    (mail,) = world.mails(ada)
    assert "tell-nobody" in mail.text
    assert "tell-nobody" in mail.html
    assert (row["id"], row["lane"], row["secret"], row["state"]) == (asked.id, 0, None, "sent")
    assert dict(mail.headers)["Message-ID"] == f"<{asked.id}@example.test>"


async def test_secret_that_belongs_elsewhere_is_never_sent(world: World) -> None:
    ada = await world.register()
    asked = await world.ask_to_verify(ada)
    stolen = await world.ask_to_verify(ada, id=uuid4())
    rows = {row["id"]: row for row in await world.ended(ada, 2)}
    assert rows[asked.id]["state"] == "sent"
    assert (rows[stolen.id]["state"], rows[stolen.id]["reason"]) == ("dead", "cannot_decrypt")


async def test_owner_of_a_taken_address_is_told(world: World) -> None:
    ada = await world.register()
    await world.ask_to_verify(ada, kind="account_exists", secret=None)
    await world.ended(ada)
    assert world.mails(ada)[0].subject == "You already have an account"


async def test_event_that_cannot_be_read_is_put_aside_and_the_next_is_heard(world: World, as_user: Any) -> None:
    ada = await world.register()
    said = await world.say(ada)
    broken = world.chat.events[-1].model_copy(update={"data": {"message_id": "not-a-uuid"}})
    broken = broken.model_copy(update={"position": len(world.chat.events) + 1})
    world.chat.events.append(broken)
    await world.say(ada)
    assert len(await inbox(as_user, world, ada)) == 3
    dead = await world.sql("SELECT * FROM dead_event WHERE producer = 'chat' AND position = $1", broken.position)
    assert len(dead) == 1
    assert said


async def test_open_socket_hears_of_a_message_while_its_owner_was_away(world: World) -> None:
    ada = await world.register()
    await world.heard()
    async with world.redis.pubsub() as live:
        await live.subscribe(f"{{u}}.n:{ada.user_id}")
        await eventually(lambda: live.get_message(timeout=1))
        await world.say(ada)

        async def told() -> bool:
            # Of the welcome it may hear only now.
            heard = await live.get_message(timeout=1)
            return heard is not None and b'"unread_count":2' in heard["data"]

        await eventually(told)


async def test_a_mention_is_a_kind_of_its_own_told_once(world: World, as_user: Any) -> None:
    ada, grace = await world.register(), await world.register()
    said = await world.say(ada, grace, conversation_type="group", conversation_name="Tea", mentioned=[ada.user_id])
    await world.chat.emit(said)
    await world.ended(ada)
    await world.ended(grace)
    assert [n["category"] for n in await inbox(as_user, world, ada)] == ["mention", "account"]
    assert [n["category"] for n in await inbox(as_user, world, grace)] == ["message", "account"]
    assert [mail.subject for mail in world.mails(ada)] == ["Grace Hopper mentioned you in Tea"]
    assert [mail.subject for mail in world.mails(grace)] == ["New message from Grace Hopper in Tea"]


async def test_mails_of_messages_can_be_off_and_those_of_mentions_on(world: World, as_user: Any) -> None:
    ada = await world.register()
    me = as_user(ada.user_id)
    await me.call("PATCH", "/preferences", json={"email": {"categories": {"message": False}}})
    await world.say(ada, excerpt="plain")
    await world.say(ada, excerpt="named", mentioned=[ada.user_id])
    rows = await world.ended(ada, 2)
    assert sorted((row["category"], row["state"]) for row in rows) == [("mention", "sent"), ("message", "suppressed")]
