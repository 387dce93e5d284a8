"""Limits of people a day: WhatsApp's, which all numbers of a business share."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from deploy.sandbox import whatsapp_hooks as hooks
from deploy.sandbox.faults import Fault
from tests.notify import crowds
from tests.notify.asking import Person, ended
from tests.notify.desks import WhatsAppDesk, digits, phone
from tests.notify.numbers import Number
from tests.notify.world import World, eventually

AT = 1_795_000_000


@pytest.fixture(scope="module")
async def second_worker(world: World) -> AsyncIterator[None]:
    async with world.working():
        yield


@pytest.fixture
async def numbers(admin: Person, api: httpx2.AsyncClient, world: World) -> list[Number]:
    """Two numbers of one business, of six people a day. The simulator counts them as well."""
    desks = [WhatsAppDesk(world.sandbox) for _ in range(2)]
    desks[1].business, desks[1].number = desks[1].whatsapp.add_number(desks[0].business.id, digits(15))
    desks[0].business.tier = 6
    portfolio = f"our {secrets.token_hex(4)}"
    found = [Number(admin, api, desk, f"wa-{secrets.token_hex(4)}") for desk in desks]
    for each in found:
        await each.set_up(portfolio=portfolio, recipients_per_day=6)
    return found


async def states(number: Number, made: Any, **wanted: int) -> None:
    async def check() -> bool:
        return bool((await number.admin.get(f"/deliveries/batches/{made['id']}"))["states"] == wanted)

    await eventually(check)


async def waiting(number: Number, *made: Any) -> list[Any]:
    """Those deliveries that have no room, once all others have left."""

    async def check() -> list[Any]:
        found = [await number.admin.get(f"/deliveries/{each['id']}") for each in made]
        late = [each for each in found if each["reason"] == "recipient_quota"]
        return late if {each["state"] for each in found if each not in late} <= {"sent", "delivered"} else []

    return list(await eventually(check))


async def room(number: Number) -> Any:
    return (await number.admin.get(f"/accounts/{number.name}"))["recipients"]


def arrived(number: Number, *to: str) -> int:
    return sum(len(number.desk.chats(each)) for each in to)


@pytest.mark.promise("N45")
@pytest.mark.usefixtures("second_worker")
async def test_numbers_of_one_business_are_never_over_their_limit_together(numbers: list[Number]) -> None:
    crowd = [[phone() for _ in range(10)] for _ in numbers]
    made = await asyncio.gather(*(each.send(*to) for each, to in zip(numbers, crowd, strict=True)))
    late = await waiting(numbers[0], *(each for batch in made for each in batch["deliveries"]))
    assert (len(late), {each["attempts"] for each in late}) == (14, {0})
    assert sum(arrived(each, *to) for each, to in zip(numbers, crowd, strict=True)) == 6
    shown = await room(numbers[0])
    assert (shown["limit"], shown["hours"], shown["used"], shown["left"]) == (6, 24, 6, 0)
    assert shown["more_at"] is not None
    assert (await room(numbers[1]))["used"] == 6
    left = {each["account"]: each["recipients_left"] for each in (await numbers[0].admin.get("/queues"))["results"]}
    assert left[numbers[1].name] == 0
    # A limit that Meta raises lets them go at once, on both numbers.
    numbers[0].business.tier = 100
    await numbers[0].tell(hooks.capability(numbers[0].business, AT))
    for number, batch in zip(numbers, made, strict=True):
        await states(number, batch, sent=10)
    assert (await room(numbers[1]))["limit"] == 100
    assert sum(arrived(each, *to) for each, to in zip(numbers, crowd, strict=True)) == 20


@pytest.mark.promise("N45")
async def test_who_was_written_to_and_who_has_written_count_no_more(numbers: list[Number]) -> None:
    one, crowd = numbers[0], [phone() for _ in range(6)]
    await states(one, await one.send(*crowd), sent=6)
    talker, stranger = phone(), phone()
    await one.tell(hooks.message(one.business, one.desk.writes(talker)))

    async def heard() -> bool:
        return bool((await one.admin.get(f"/accounts/{one.name}/threads"))["results"])

    await eventually(heard)
    made = (await one.send(stranger, crowd[0], talker))["deliveries"]
    [late] = await waiting(one, *made)
    assert late["address"] == stranger
    assert (await room(one))["used"] == 6
    assert (arrived(one, crowd[0]), arrived(one, talker), arrived(one, stranger)) == (2, 1, 0)


@pytest.mark.promise("N45")
async def test_whom_the_provider_did_not_take_leaves_room_for_another(numbers: list[Number], world: World) -> None:
    one, refused = numbers[0], [phone() for _ in range(6)]
    for each in refused:
        world.sandbox.whatsapp.faults.add(Fault(match=each, reply="400 131026"))
    await states(one, await one.send(*refused), failed=6)
    assert (await room(one))["used"] == 0
    await states(one, await one.send(*[phone() for _ in range(6)]), sent=6)
    assert (await room(one))["left"] == 0


@pytest.mark.promise("N45")
async def test_day_slides_for_people_too(numbers: list[Number], world: World) -> None:
    one, two = numbers
    one.business.tier = None
    first, again = [phone() for _ in range(3)], [phone() for _ in range(3)]
    await states(one, await one.send(*first, *again), sent=6)
    made = await two.send(*[phone() for _ in range(4)])
    assert len(await waiting(two, *made["deliveries"])) == 4
    query = "UPDATE quota_recipient SET at = at - interval '25 hours' WHERE pool LIKE '%' || $1"
    shown = (await one.admin.get(f"/accounts/{one.name}"))["config"]["portfolio"]
    await states(one, await one.send(*again), sent=3)
    rows = await world.sql("SELECT delivery_id FROM quota_recipient WHERE pool LIKE '%' || $1 ORDER BY at", shown)
    assert len(rows) == 9
    await world.sql(f"{query} AND delivery_id = ANY($2)", shown, [row["delivery_id"] for row in rows[:6]])
    # Three have had a message since, which counts on.
    assert (await room(one))["used"] == 3
    await world.sql("UPDATE delivery SET next_at = now() WHERE account = $1", two.name)
    await states(two, made, sent=3, retry=1)
    assert (await room(one))["left"] == 0


@pytest.mark.promise("N45")
async def test_campaign_says_beforehand_how_many_have_to_wait(numbers: list[Number]) -> None:
    one, known = numbers[0], phone()
    await states(one, await one.send(known), sent=1)
    crowd = [{"address": each} for each in (known, *(phone() for _ in range(9)))]
    content = {"template": {"name": "hello_world"}}
    made = await crowds.campaign(one.admin, *crowd, channel="whatsapp", account=one.name, content=content)
    found = await crowds.step(one.admin, made, "check")
    # Five of nine strangers have room, and who is known has.
    assert (found["valid"], found["over_quota"]) == (10, 4)
    assert found["expected_seconds"] > 80_000


async def test_one_persons_late_message_is_followed_by_no_attempt(numbers: list[Number], admin: Person) -> None:
    one = numbers[0]
    await states(one, await one.send(*[phone() for _ in range(6)]), sent=6)
    [late] = (await one.send(phone()))["deliveries"]
    await waiting(one, late)
    assert (await admin.call("POST", f"/deliveries/{late['id']}/cancel")).status_code in (200, 204)
    assert (await ended(admin, late))["state"] == "cancelled"
