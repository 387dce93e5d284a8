"""What becomes of a mail when the provider says no, says nothing, or is not there."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.notify.world import World, eventually


async def attempts(world: World, row: Any) -> list[Any]:
    query = "SELECT error_class, error_code, decision FROM delivery_attempt WHERE delivery_id = $1 ORDER BY fence"
    return [tuple(found) for found in await world.sql(query, row["id"])]


@pytest.mark.promise("N46", "N47")
async def test_temporary_refusal_is_tried_again_until_it_works(world: World) -> None:
    ada = await world.register()
    world.break_mail(ada, reply="451 4.3.0 try later", times=2)
    await world.say(ada)
    (row,) = await world.ended(ada)
    assert (row["state"], row["attempts"], len(world.mails(ada))) == ("sent", 3, 1)
    refused = ("transient", "451 4.3.0", "retry")
    assert await attempts(world, row) == [refused, refused, (None, None, "sent")]


@pytest.mark.promise("N46")
async def test_temporary_refusal_of_the_whole_message_is_tried_again(world: World) -> None:
    ada = await world.register()
    world.break_mail(ada, reply="452 4.3.1 no room", after_data=True)
    await world.say(ada)
    (row,) = await world.ended(ada)
    assert (row["state"], row["attempts"], len(world.mails(ada))) == ("sent", 2, 1)


@pytest.mark.promise("N47", "N50")
async def test_delivery_that_never_works_is_given_up_with_its_reason(world: World, as_user: Any) -> None:
    ada = await world.register()
    world.break_mail(ada, reply="451 4.3.0 try later", times=50)
    await world.say(ada)
    (row,) = await world.ended(ada)
    assert (row["state"], row["reason"], row["attempts"]) == ("dead", "attempts", 4)
    (shown,) = (await as_user(ada.user_id).get("/deliveries"))["results"]
    assert (shown["state"], shown["reason"], shown["error_code"]) == ("dead", "attempts", "451 4.3.0")


@pytest.mark.promise("N46")
@pytest.mark.parametrize("after_data", [False, True])
async def test_final_refusal_is_not_tried_again(world: World, after_data: bool) -> None:
    ada = await world.register()
    world.break_mail(ada, reply="550 5.1.1 no such user", after_data=after_data)
    await world.say(ada)
    (row,) = await world.ended(ada)
    assert (row["state"], row["reason"], row["error_code"], row["attempts"]) == ("failed", "refused", "550 5.1.1", 1)
    assert world.mails(ada) == []


@pytest.mark.promise("N49")
@pytest.mark.parametrize("keep", [True, False], ids=["arrived", "lost"])
async def test_message_without_an_answer_is_unknown_and_not_sent_again(world: World, keep: bool) -> None:
    ada = await world.register()
    world.break_mail(ada, after_data=True, drop=True, keep=keep)
    await world.say(ada)
    (row,) = await world.ended(ada)
    assert (row["state"], row["reason"], row["attempts"]) == ("unknown", "no_answer", 1)
    assert len(world.mails(ada)) == int(keep)
    assert await attempts(world, row) == [("ambiguous", "no_answer", "unknown")]


@pytest.mark.promise("N49")
async def test_code_without_an_answer_is_sent_again(world: World) -> None:
    ada = await world.register()
    world.break_mail(ada, after_data=True, drop=True, keep=True)
    await world.ask_to_verify(ada)
    (row,) = await world.ended(ada)
    assert (row["state"], row["attempts"], len(world.mails(ada))) == ("sent", 2, 2)
    assert row["secret"] is None


@pytest.mark.promise("N46")
async def test_connection_lost_before_the_message_is_tried_again(world: World) -> None:
    ada = await world.register()
    world.break_mail(ada, drop=True, times=2)
    await world.say(ada)
    (row,) = await world.ended(ada)
    assert (row["state"], len(world.mails(ada))) == ("sent", 1)


@pytest.mark.promise("N48")
async def test_account_that_must_wait_costs_the_message_no_attempt(world: World) -> None:
    ada = await world.register()
    world.break_mail(ada, reply="421 4.7.0 slow down", times=6)
    await world.say(ada)
    (row,) = await world.ended(ada)
    assert (row["state"], row["attempts"], len(world.mails(ada))) == ("sent", 1, 1)


@pytest.mark.promise("N55")
async def test_mail_that_is_not_wanted_is_recorded_and_not_sent(world: World, as_user: Any) -> None:
    ada = await world.register()
    me = as_user(ada.user_id)
    await me.call("PATCH", "/preferences", json={"email": {"categories": {"message": False}}})
    await world.say(ada)
    (row,) = await world.ended(ada)
    assert (row["state"], row["reason"], row["attempts"]) == ("suppressed", "preference", 0)
    assert len((await me.get("/notifications"))["results"]) == 2
    assert world.mails(ada) == []


@pytest.mark.promise("N55")
async def test_switch_holds_for_mails_that_wait_already(world: World, as_user: Any) -> None:
    ada = await world.register()
    world.break_mail(ada, reply="421 4.7.0 slow down", times=1000)
    await world.say(ada)
    await eventually(lambda: world.deliveries(ada))
    await as_user(ada.user_id).call("PATCH", "/preferences", json={"email": {"enabled": False}})
    (row,) = await world.ended(ada)
    assert (row["state"], row["reason"]) == ("suppressed", "preference")
    world.sandbox.postbox.faults.clear()


@pytest.mark.promise("N55")
async def test_code_is_sent_whatever_is_switched_off(world: World, as_user: Any) -> None:
    ada = await world.register()
    await as_user(ada.user_id).call("PATCH", "/preferences", json={"email": {"enabled": False}})
    await world.ask_to_verify(ada)
    assert [row["state"] for row in await world.ended(ada)] == ["sent"]


async def test_news_that_is_old_is_not_sent_any_more(world: World) -> None:
    ada = await world.register()
    await world.say(ada, sent_at=datetime.now(UTC) - timedelta(days=2))
    (row,) = await world.ended(ada)
    assert (row["state"], row["reason"], world.mails(ada)) == ("expired", "expired", [])


async def test_list_of_deliveries_has_ones_own_only(world: World, as_user: Any) -> None:
    ada, grace = await world.register(), await world.register()
    for _ in range(3):
        await world.say(ada, grace)
    await world.ended(ada, 3)
    me = as_user(ada.user_id)
    first = await me.get("/deliveries", limit=2)
    rest = (await me.call("GET", first["next"].removeprefix("/api/v1"))).json()
    shown = first["results"] + rest["results"]
    assert [d["address"] for d in shown] == [ada.email] * 3
    assert shown[0].keys() == {
        "id", "notification_id", "channel", "address", "category", "state", "reason", "attempts", "error_code",
        "send_at", "expires_at", "created_at", "sent_at", "delivered_at", "read_at", "digest_id",
    }  # fmt: skip
    assert rest["next"] is None
