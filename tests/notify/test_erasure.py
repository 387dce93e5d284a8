"""Of somebody whose account is gone nothing stays."""

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from typing import Any
from uuid import uuid4

import pytest

from libs.contracts.accounts import Profile, UserDeleted
from libs.db import Database
from libs.testing.clock import FakeClock
from notify_service.domain import erasure
from tests.notify.asking import Decide
from tests.notify.world import World, eventually

Erased = Callable[..., Awaitable[bool]]
# Looked for in whole tables, so no two tests say the same.
_numbers = count(1)
TABLES = ("delivery", "digest", "notification", "preference", "profile", "idempotency_key")


async def traces(world: World, *words: str) -> list[tuple[str, str]]:
    """Rows that still hold one of the words."""
    found = []
    for table in TABLES:
        for row in await world.sql(f"SELECT to_jsonb(t)::text AS whole FROM {table} AS t"):
            found += [(table, word) for word in words if word in row["whole"]]
    return found


async def delete(world: World, profile: Profile) -> None:
    del world.auth.profiles[profile.user_id]
    await world.auth.emit(UserDeleted(user_id=profile.user_id))
    await world.heard()


@pytest.fixture
def name() -> str:
    """That nobody else has."""
    return f"Adalbertina the {next(_numbers)}th"


@pytest.fixture
def whisper() -> str:
    """That nobody else has said."""
    return f"a word whispered for the {next(_numbers)}th time"


@pytest.fixture
async def erased(world: World, clock: FakeClock) -> AsyncIterator[Erased]:
    """Whether turns of the worker erase every row with one of the words."""
    database = Database(world.database_url, service="notify")

    async def check(*words: str) -> bool:
        async def turn() -> bool:
            await erasure.work(database, clock)
            return not await traces(world, *words)

        return bool(await eventually(turn, 20))

    yield check
    await database.close()


@pytest.mark.promise("A54")
async def test_what_they_got_goes(world: World, as_user: Any, erased: Erased, name: str) -> None:
    ada, grace = await world.register(first_name=name), await world.register()
    await world.say(ada, grace, excerpt="Tea?")
    await world.ended(ada)
    await as_user(ada.user_id).call("PATCH", "/preferences", json={"email": {"enabled": False}})
    await delete(world, ada)
    assert await erased(str(ada.user_id), ada.email or "", name)
    assert "Tea?" in [n["message"] for n in (await as_user(grace.user_id).get("/notifications"))["results"]]


@pytest.mark.promise("A54")
async def test_what_others_were_told_that_they_said_goes(
    world: World, as_user: Any, erased: Erased, name: str, whisper: str
) -> None:
    ada, grace = await world.register(), await world.register()
    await world.say(grace, sender_id=ada.user_id, sender_name=name, excerpt=whisper)
    kept = await world.say(grace, sender_name="Alan", excerpt="Hello")
    await world.ended(grace, 2)
    await delete(world, ada)
    assert await erased(str(ada.user_id), name, whisper)
    shown = (await as_user(grace.user_id).get("/notifications"))["results"]
    assert [n["message"] for n in shown if n["category"] == "message"] == [kept.excerpt]
    assert len(await world.deliveries(grace)) == 1


@pytest.mark.promise("A54")
async def test_what_digests_told_that_they_said_goes(
    world: World, erased: Erased, decide: Decide, whisper: str
) -> None:
    await decide("message", digest={"window": {"kind": "fixed", "seconds": 3600}})
    ada, alan, grace = await world.register(), await world.register(), await world.register()
    for sender in (ada, alan):
        await world.say(grace, sender_id=sender.user_id, sender_name="Adalbertina", excerpt=f"a word {sender.username}")
    await world.heard()
    await world.close_digests("message")
    await world.ended(grace, 3)
    await world.say(ada, grace, sender_id=ada.user_id, excerpt=whisper)
    await delete(world, ada)
    assert await erased(str(ada.user_id), ada.email or "", whisper, f"a word {ada.username}")
    # What nobody said who is gone is still known to have been said.
    assert [row["state"] for row in await world.deliveries(grace)] == ["digested"]


@pytest.mark.promise("A54")
async def test_the_last_mail_is_sent_and_then_forgotten(world: World, erased: Erased) -> None:
    ada = await world.register()
    await world.ask_to_verify(ada, secret=None, kind="account_deleted")
    await delete(world, ada)
    await eventually(lambda: world.mails(ada))
    assert await erased(str(ada.user_id), ada.email or "")


async def test_what_chat_still_tells_of_them_goes_too(world: World, erased: Erased) -> None:
    ada = await world.register()
    await delete(world, ada)
    assert await erased(str(ada.user_id))
    await world.say(ada)
    await world.heard()
    assert await erased(str(ada.user_id))


async def test_after_two_days_nobody_looks_any_more(world: World, clock: FakeClock) -> None:
    user_id = uuid4()
    await world.auth.emit(UserDeleted(user_id=user_id))
    await world.heard()
    database = Database(world.database_url, service="notify")
    for days, left in ((0, 1), (3, 0)):
        clock.advance(days * 24 * 3600)
        await erasure.work(database, clock)
        assert len(await world.sql("SELECT 1 FROM erasure WHERE user_id = $1", user_id)) == left
    await database.close()
