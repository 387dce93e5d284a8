"""What waits for inboxes comes there in one step with its delivery, whatever else happens to it at that moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from libs.clock import Clock
from libs.contracts.accounts import Profile
from libs.db import Database
from libs.errors import Unavailable
from libs.lanes import Lanes
from notify_service.domain.arrivals import Arrival, Arrivals
from notify_service.domain.deliveries import Verdict
from notify_service.domain.drafts import Draft
from notify_service.domain.happenings import Listening
from notify_service.domain.verdicts import Policy
from tests.notify.asking import Person, send
from tests.notify.world import World, eventually

HELLO = {"subject": "Hello", "text": "It is done."}


async def tell(sender: Person, *to: Any, **body: Any) -> Any:
    return await send(sender, "inapp", *to, channel="inapp", content=HELLO, **body)


async def counted(sender: Person, batch: Any, **states: int) -> None:
    async def check() -> bool:
        return bool((await sender.get(f"/deliveries/batches/{batch['id']}"))["states"] == states)

    await eventually(check)


@pytest.fixture
async def ada(world: World) -> Profile:
    return await world.register()


@pytest.mark.promise("N26")
async def test_what_is_taken_back_while_it_comes_is_there_or_is_cancelled(
    ada: Profile, admin: Person, world: World
) -> None:
    batches = [await tell(admin, *[{"user": str(ada.user_id)}] * 100) for _ in range(5)]
    await asyncio.gather(*(admin.call("POST", f"/deliveries/batches/{batch['id']}/cancel") for batch in batches))
    made = [each for batch in batches for each in batch["deliveries"]]
    query = (
        "SELECT d.state, n.id FROM delivery AS d LEFT JOIN notification AS n USING (id) WHERE d.id = ANY($1::uuid[])"
    )

    async def found() -> Any:
        rows = await world.sql(query, [each["id"] for each in made])
        return {(row["state"], row["id"] is not None) for row in rows if row["state"] != "queued"}

    assert await eventually(found) <= {("delivered", True), ("cancelled", False)}


@pytest.mark.promise("N45")
async def test_day_and_rate_of_the_account_hold_for_inboxes(ada: Profile, admin: Person) -> None:
    async def limit(**limits: Any) -> None:
        assert (await admin.call("PATCH", "/accounts/inapp", json=limits)).status_code == 200

    async def used_up() -> bool:
        """Its sender hears of a limit a little later."""
        made.append(await tell(admin, to))
        return bool((await admin.get("/accounts/inapp"))["quota"]["left"] == 0)

    to, made = {"user": str(ada.user_id)}, list[Any]()
    await limit(daily_limit=2)
    try:
        await eventually(used_up)
        made.append(await tell(admin, *[to] * 5))
        assert (await admin.get(f"/deliveries/batches/{made[-1]['id']}"))["states"] == {"queued": 5}
        assert (await admin.get("/accounts/inapp"))["quota"]["used"] == 2
        await limit(daily_limit=None, rate=20.0)
        for batch in made:
            await counted(admin, batch, delivered=len(batch["deliveries"]))
    finally:
        await limit(daily_limit=None, rate=None)


@asynccontextmanager
async def arrivals_of(world: World, *drafts: Draft) -> AsyncIterator[tuple[Arrivals, list[Any]]]:
    """While auth is away and no sender looks for what waits, with the ids of what was shown."""

    async def away(_users: Any) -> Any:
        raise Unavailable

    for draft in drafts:
        await world.sql(
            """
            INSERT INTO delivery (id, owner, queue, channel, account, address, category, lane, template, at_least_once,
                state, next_at, created_at, updated_at)
            VALUES ($1, 'x', 'x', 'inapp', 'nobody', $2, 'news', 1, 'notification', false, 'queued', now(), now(),
                now())
            """,
            draft.id,
            str(draft.user_id),
        )
    told: list[Any] = []
    database, lanes = Database(world.database_url, service="notify"), Lanes("notify", world.database_url, 1)
    yield (
        Arrivals(
            database,
            lanes,
            ask=away,
            show=lambda created: told.append(created.id),
            listening=Listening(),
            policy=Policy(),
            clock=Clock(),
        ),
        told,
    )
    await lanes.close()
    await database.close()


def draft_for(user_id: Any, **given: Any) -> Draft:
    return Draft(id=uuid4(), user_id=user_id, category="news", title="Hello", message="x", **given)


def coming(draft: Draft, fence: int = 0) -> Arrival:
    assert draft.id is not None
    return Arrival(Verdict(id=draft.id, fence=fence, state="delivered"), draft)


async def standing(world: World, *drafts: Draft) -> list[tuple[str, str | None]]:
    rows = await world.sql(
        "SELECT id, state, error_code FROM delivery WHERE id = ANY($1::uuid[])", [draft.id for draft in drafts]
    )
    by_id = {row["id"]: (row["state"], row["error_code"]) for row in rows}
    return [by_id[draft.id] for draft in drafts]


@pytest.mark.promise("N26")
async def test_neither_strangers_nor_what_cannot_be_stored_hold_up_the_others(ada: Profile, world: World) -> None:
    drafts = [draft_for(ada.user_id), draft_for(uuid4()), draft_for(ada.user_id, data={"word": "\x00"})]
    async with arrivals_of(world, *drafts) as (arrivals, told):
        settled = await arrivals.settle([coming(draft) for draft in drafts])
    assert await standing(world, *drafts) == [("delivered", None), ("retry", "user_not_known"), ("dead", None)]
    assert (len(settled), told) == (3, [drafts[0].id])


@pytest.mark.promise("N26")
async def test_what_was_changed_since_it_was_looked_at_stays_as_it_is(ada: Profile, world: World) -> None:
    drafts = [draft_for(ada.user_id) for _ in range(3)]
    async with arrivals_of(world, *drafts) as (arrivals, told):
        await world.sql("UPDATE delivery SET state = 'cancelled' WHERE id = $1", drafts[0].id)
        settled = await arrivals.settle([coming(drafts[0]), coming(drafts[1], fence=7), coming(drafts[2])])
        assert [each.id for each in settled] == told == [drafts[2].id]
        assert await arrivals.settle([coming(drafts[2])]) == []
    assert [state for state, _ in await standing(world, *drafts)] == ["cancelled", "queued", "delivered"]
    there = await world.sql("SELECT id FROM notification WHERE id = ANY($1::uuid[])", [draft.id for draft in drafts])
    assert [row["id"] for row in there] == [drafts[2].id]
    await world.sql("DELETE FROM delivery WHERE account = 'nobody'")
