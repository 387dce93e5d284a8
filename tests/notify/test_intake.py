"""Requests to send that come at the same time: looked up and stored together, and each answered for itself."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.notify.asking import Decide, MakeBot, Person
from tests.notify.world import World

_MAIL = {"subject": "Hello", "text": "Hello"}
_STORED = (
    "SELECT batch_id, account, address, user_id, state, variables FROM delivery WHERE batch_id = ANY($1) ORDER BY id"
)
# Those that have stored something last.
_END_WRITERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE '%NULL::delivery%' AND pid <> pg_backend_pid()
"""


def later() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).isoformat()


def to_bot(bot: str, *addresses: str, **changed: Any) -> dict[str, Any]:
    to = [{"address": each, "variables": {"name": each}} for each in addresses]
    given = {"channel": "telegram", "account": bot, "to": to, "content": {"text": "Hello {{name}}"}, "send_at": later()}
    return {**given, **changed}


def mail_to(user_id: Any) -> dict[str, Any]:
    return {"channel": "email", "to": [{"user": str(user_id)}], "content": _MAIL, "send_at": later()}


async def stored(world: World, batches: Iterable[str]) -> dict[str, list[Any]]:
    """By batch."""
    found: dict[str, list[Any]] = {}
    for row in await world.sql(_STORED, list(batches)):
        found.setdefault(str(row["batch_id"]), []).append(row)
    return found


@pytest.mark.promise("N1")
async def test_requests_that_come_together_are_each_answered_for_themselves(
    admin: Person, make_bot: MakeBot, decide: Decide, world: World
) -> None:
    one, other = await make_bot(), await make_bot()
    ada, bob = await world.register(), world.profile()
    rare = await decide(throttle={"most": 1, "seconds": 3600})
    unknown = await decide(throttle={"most": 1, "seconds": 3600})
    later_rule = '{"most": 1, "seconds": 3600, "kindness": 1}'
    await world.sql("UPDATE category SET throttle = $2 WHERE name = $1", unknown, later_rule)
    bodies = [
        *(to_bot(one, str(number)) for number in range(1, 21)),
        to_bot(other, "1", "2", "3"),
        mail_to(ada.user_id),
        # Of whom auth has to be asked.
        mail_to(bob.user_id),
        to_bot(other, "7", category=rare),
        to_bot(other, "7", category=rare),
        # Decided by a later version than this one.
        to_bot(one, "1", category=unknown),
        to_bot("nobody", "1"),
        mail_to(uuid4()),
        to_bot(one, "no chat"),
    ]
    calls = await asyncio.gather(*(admin.call("POST", "/deliveries", json=body) for body in bodies))
    answers = [call.json() for call in calls]
    assert [call.status_code for call in calls] == [202] * 25 + [500] + [422] * 3
    assert [answer["errors"][0]["field"] for answer in answers[26:]] == ["account", "to.0.user", "to.0.address"]
    rows = await stored(world, [answer["id"] for answer in answers[:25]])
    for body, answer in zip(bodies[:21], answers, strict=False):
        wanted = [(body["account"], each["address"]) for each in body["to"]]
        assert [(row["account"], row["address"]) for row in rows[answer["id"]]] == wanted
        assert [each["state"] for each in answer["deliveries"]] == ["queued"] * len(wanted)
    read = [(row["address"], row["user_id"]) for answer in answers[21:23] for row in rows[answer["id"]]]
    assert read == [(ada.email, ada.user_id), (bob.email, bob.user_id)]
    assert sorted(answer["deliveries"][0]["state"] for answer in answers[23:25]) == ["queued", "suppressed"]


@pytest.mark.promise("N1")
async def test_message_that_was_answered_is_stored_once_whatever_breaks(admin: Person, bot: str, world: World) -> None:
    over = asyncio.Event()

    async def send(line: int) -> list[Any]:
        calls = []
        while not over.is_set():
            address = str(1000 * line + len(calls) + 1)
            call = await admin.call("POST", "/deliveries", json=to_bot(bot, address))
            calls.append((address, call.status_code, call.json()))
        return calls

    lines = [asyncio.create_task(send(line)) for line in range(4)]
    ended = 0
    while ended < 5:
        ended += len(await world.sql(_END_WRITERS))
    over.set()
    calls = [call for line in await asyncio.gather(*lines) for call in line]
    assert {status for _, status, _ in calls} <= {202, 503}
    accepted = {answer["id"]: address for address, status, answer in calls if status == 202}
    assert len(accepted) > ended
    rows = await stored(world, accepted)
    assert {batch: [row["address"] for row in some] for batch, some in rows.items()} == {
        batch: [address] for batch, address in accepted.items()
    }
