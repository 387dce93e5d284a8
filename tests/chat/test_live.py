"""Messages reach every member's sockets, on every process."""

import pytest
from prometheus_client import REGISTRY

from tests.chat.conftest import People
from tests.chat.nodes import Node


@pytest.mark.promise("C4")
async def test_message_reaches_all_sockets_of_both_processes(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with (
        one.client(ann, conversation) as phone,
        two.client(ann, conversation) as laptop,
        two.client(bob, conversation) as theirs,
    ):
        answer = await phone.send(conversation, "Hello", client_msg_id="0190a0b0-0000-7000-8000-000000000001")
        for client in (phone, laptop, theirs):
            push = await client.push("message.new", id=answer["id"])
            assert push["q"] == answer["q"] == 2
            assert push["d"]["seq"] == answer["seq"] == 1
            assert push["d"]["content"] == "Hello"
            assert push["d"]["client_msg_id"] == "0190a0b0-0000-7000-8000-000000000001"
            assert push["d"]["sender"]["username"] == ann.name


@pytest.mark.promise("C70")
async def test_deliveries_and_resumes_are_measured(one: Node, two: Node, people: People) -> None:
    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0.0

    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    stream = f"c:{conversation}"
    deliveries, delays = value("parley_chat_deliveries_total"), value("parley_chat_delivery_seconds_count")
    async with one.client(bob, conversation) as here, two.client(bob, conversation) as there:
        await one.say(ann, conversation, "measured")
        await here.push("message.new")
        await there.push("message.new")
    assert value("parley_chat_deliveries_total") == deliveries + 2
    assert value("parley_chat_delivery_seconds_count") == delays + 2
    outcomes = ("replayed", "nothing_missed", "limited")
    before = {o: value("parley_chat_resumes_total", outcome=o) for o in outcomes}
    for position in ((1, 1), (1, 2), (7, 2)):
        async with one.client(bob, resume={stream: position}):
            pass
    assert {o: value("parley_chat_resumes_total", outcome=o) - before[o] for o in outcomes} == dict.fromkeys(
        outcomes, 1
    )
