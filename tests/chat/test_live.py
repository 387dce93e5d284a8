"""Messages reach every member's sockets, on every process."""

import pytest

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
