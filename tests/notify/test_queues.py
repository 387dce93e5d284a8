"""What waits, seen by administrators and by Prometheus."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from libs.db import Database
from libs.testing.clock import FakeClock
from notify_service.domain import gauges
from tests.notify.asking import TOKEN, MakeBot, Person, ended, send
from tests.notify.chats import new_chat
from tests.notify.world import World, eventually

WRONG = "1000001:wrong"


@pytest.fixture
async def database(world: World) -> AsyncIterator[Database]:
    opened = Database(world.database_url, service="notify")
    yield opened
    await opened.close()


async def queue_of(admin: Person, account: str) -> Any:
    [found] = [each for each in (await admin.get("/queues"))["results"] if each["account"] == account]
    return found


async def refused(admin: Person, account: str) -> Any:
    """Once the account is refused, and not just asked again whether it still is."""

    async def check() -> Any:
        found = await queue_of(admin, account)
        return found if found["state"] == "refused" and not found["in_flight"] else None

    return await eventually(check)


@pytest.mark.promise("N70")
async def test_queue_says_what_waits_how_long_and_what_holds_it_up(
    admin: Person, make_bot: MakeBot, chat: str, world: World, database: Database, clock: FakeClock
) -> None:
    bot = await make_bot(secrets={"token": WRONG}, daily_limit=50, rate=2.5)
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    await send(admin, bot, chat, priority="high")
    await refused(admin, bot)
    for priority, many, when in (("normal", 1, None), ("bulk", 3, None), ("bulk", 2, later)):
        made = await send(admin, bot, *[str(n + 1) for n in range(many)], priority=priority, send_at=when)
    found = await refused(admin, bot)
    assert found["waiting"] == {"high": 1, "normal": 1, "bulk": 5}
    assert (found["fault"], found["capped"], found["in_flight"], found["quota_left"]) == ("401", False, 0, 50)
    assert (found["rate"], found["held_batches"]) == (2.5, 0)
    # The first, and who was taken to ask whether the account is refused still.
    assert found["retrying"] in (1, 2)
    assert found["oldest_seconds"] > 0
    await world.sql("UPDATE batch SET held = true WHERE id = $1::text::uuid", made["id"])
    assert (await queue_of(admin, bot))["held_batches"] == 1

    of = {"channel": "telegram", "account": bot}

    async def measured() -> bool:
        # While it is asked once more whether it is refused still, one message is with the sender.
        await gauges.work(database, clock, lambda: {("telegram", bot): 3.0})
        shown = [REGISTRY.get_sample_value("parley_queue_depth", {**of, "lane": lane}) for lane in found["waiting"]]
        lag = REGISTRY.get_sample_value("parley_queue_lag_seconds", of) or 0
        # The oldest may be the one that was just asked with.
        grows = lag > found["oldest_seconds"]
        return shown == [1, 1, 5] and REGISTRY.get_sample_value("parley_account_quota_left", of) == 50 and grows

    await eventually(measured)
    assert REGISTRY.get_sample_value("parley_account_state", {**of, "state": "refused"}) == 1
    assert REGISTRY.get_sample_value("parley_account_tokens", of) == 3
    assert REGISTRY.get_sample_value("parley_queue_held_batches", of) == 1


async def test_late_is_what_is_due_and_not_on_hold(admin: Person, make_bot: MakeBot, world: World) -> None:
    bot = await make_bot(secrets={"token": WRONG})
    await send(admin, bot, "1")
    await refused(admin, bot)
    await world.sql("DELETE FROM delivery WHERE account = $1", bot)
    made = await send(admin, bot, "1", "2")
    await world.sql("UPDATE batch SET held = true WHERE id = $1::text::uuid", made["id"])
    await send(admin, bot, "1", send_at=(datetime.now(UTC) + timedelta(days=1)).isoformat())
    found = await refused(admin, bot)
    assert (found["waiting"]["normal"], found["oldest_seconds"], found["held_batches"]) == (3, 0, 1)


async def test_account_at_work_is_owned_and_counts_how_its_attempts_end(admin: Person, bot: str, chat: str) -> None:
    def counted(how: str) -> float:
        labels = {"channel": "telegram", "class": how}
        return REGISTRY.get_sample_value("parley_delivery_attempts_total", labels) or 0

    before = counted("taken"), counted("permanent")
    for to in (chat, str(new_chat())):
        [made] = (await send(admin, bot, to))["deliveries"]
        await ended(admin, made)
    assert (counted("taken") - before[0], counted("permanent") - before[1]) == (1, 1)
    found = await queue_of(admin, bot)
    assert (found["owned"], found["waiting"], found["state"]) == (True, {"high": 0, "normal": 0, "bulk": 0}, "ok")


async def test_queues_are_for_administrators(as_user: Any) -> None:
    assert (await as_user(roles=["user", "support", "moderator"]).call("GET", "/queues")).status_code == 403


@pytest.mark.promise("N40")
async def test_whoever_listens_hears_that_an_account_is_refused_and_that_it_is_back(
    admin: Person, make_bot: MakeBot, chat: str, world: World
) -> None:
    bot = await make_bot(secrets={"token": WRONG})
    [made] = (await send(admin, bot, chat))["deliveries"]
    await refused(admin, bot)
    await admin.call("PATCH", f"/accounts/{bot}", json={"secrets": {"token": TOKEN}})
    await ended(admin, made)
    query = """
        SELECT data ->> 'refused' AS refused, data ->> 'fault' AS fault FROM outbox
        WHERE type = 'AccountChanged' AND data ->> 'account' = $1 ORDER BY id
    """
    rows = await world.sql(query, bot)
    assert [(row["refused"], row["fault"]) for row in rows] == [("true", "401"), ("false", None)]
