"""A loud stream does not keep the others of a socket waiting."""

import asyncio
from uuid import UUID

import pytest

from chat_service.domain.backlog import Backlog
from tests.chat.conftest import People
from tests.chat.nodes import Node, complete
from tests.chat.test_backpressure import not_reading, session_of


@pytest.mark.promise("C52")
async def test_other_stream_does_not_wait_behind_all_of_a_loud_one(one: Node, people: People) -> None:
    ann, bob = await people(2)
    loud, quiet = await one.group(ann, bob), await one.group(ann, bob)
    send = one.context.writer.send
    async with one.client(bob, loud, quiet) as client:
        async with not_reading(client, session_of(one, bob)):
            await asyncio.gather(*(send(UUID(loud), ann.id, content="x" * 300) for _ in range(500)))
            await one.say(ann, quiet, "a word")
        await client.until(complete(loud, 500), patience=30)
        order = [p["s"] for p in client.pushes if "q" in p]
        assert order.index(f"c:{quiet}") < 150
        assert client.gaps == []


@pytest.mark.promise("C52")
def test_streams_take_turns_by_bytes_and_keep_their_order() -> None:
    backlog = Backlog()
    for number in range(100):
        backlog.add_event("small", b"s%03d" % number + b"." * 96)
    for number in range(100):
        backlog.add_event("large", b"l%03d" % number + b"." * 4_996)
    taken = backlog.take(200_000)
    assert [p for p in taken if p[:1] == b"s"] == sorted(p for p in taken if p[:1] == b"s")
    assert [p for p in taken if p[:1] == b"l"] == sorted(p for p in taken if p[:1] == b"l")
    assert len([p for p in taken if p[:1] == b"s"]) == 100
    rest = backlog.take(1 << 30)
    assert (len(taken) + len(rest), backlog.bytes, backlog.packets) == (200, 0, 0)


@pytest.mark.promise("C49")
def test_control_goes_first_and_what_is_worthless_later_last() -> None:
    backlog = Backlog()
    backlog.add_ephemeral(b"typing")
    backlog.add_state("receipt", b"old")
    backlog.add_event("c:1", b"event")
    backlog.add_state("receipt", b"new")
    backlog.add_control(b"answer")
    assert backlog.take(1_000) == [b"answer", b"event", b"new", b"typing"]
    assert backlog.take(1_000) == []
