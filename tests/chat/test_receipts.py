"""How far somebody has read."""

import pytest

from tests.chat.conftest import People
from tests.chat.nodes import Node


async def test_mark_moves_forward_only_and_never_beyond_the_last_message(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    for number in range(5):
        await one.say(ann, conversation, str(number))

    async def read(seq: int) -> tuple[int, int]:
        body = (await one.call(bob, "POST", f"/conversations/{conversation}/read", json={"seq": seq})).json()
        return body["last_read_seq"], body["unread_count"]

    assert await read(3) == (3, 2)
    assert await read(1) == (3, 2)
    assert await read(10**9) == (5, 0)
    assert (await one.call(bob, "GET", f"/conversations/{conversation}")).json()["unread_count"] == 0


async def test_sending_reads_everything_before(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    await one.say(ann, conversation, "question")
    await one.say(bob, conversation, "answer")
    assert (await one.call(bob, "GET", f"/conversations/{conversation}")).json()["unread_count"] == 0
    assert (await one.call(ann, "GET", f"/conversations/{conversation}")).json()["unread_count"] == 1


async def test_reading_on_one_device_reaches_the_others(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    await one.say(ann, conversation, "hello")
    async with one.client(bob) as phone, two.client(bob) as laptop:
        answer = await phone.request("read", f"c:{conversation}", {"seq": 1})
        assert answer == {"last_read_seq": 1, "unread_count": 0}
        push = await laptop.push("read", conversation_id=conversation)
        assert (push["s"], push["d"]["seq"], push["d"]["unread_count"]) == (f"u:{bob.id}", 1, 0)


@pytest.mark.parametrize("seq", [-1, "1", True, 1.5, None, 1 << 62])
async def test_impossible_mark_is_refused(one: Node, people: People, seq: object) -> None:
    from libs.testing.chat_client import Refused

    [ann] = await people(1)
    conversation = await one.group(ann)
    async with one.client(ann) as client:
        with pytest.raises(Refused) as refused:
            await client.request("read", f"c:{conversation}", {"seq": seq})
    assert refused.value.code == "validation_error"
