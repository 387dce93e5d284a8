"""The reference client: an exact copy, whatever happens to the socket."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from parley_client import ApiError, Chat, Conversation, Frame, LocalCopy, Refused
from tests.chat.conftest import People, SettingsFor
from tests.chat.nodes import Node, Person, process, talk


@contextlib.asynccontextmanager
async def chatting(node: Node, person: Person, **more: Any) -> AsyncIterator[Chat]:
    async def token(_fresh: bool) -> str:
        return person.token

    async with Chat(node.url, token, **more) as chat:
        yield chat


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.01)


async def same(conversation: Conversation, chat: Chat) -> None:
    """The copy is what a fresh one is."""
    fresh = await LocalCopy.read(chat.api, conversation.id)
    await until(lambda: conversation.copy is not None and conversation.copy.seq >= fresh.seq)
    fresh = await LocalCopy.read(chat.api, conversation.id)
    assert conversation.copy is not None
    oldest = min((message["seq"] for message in fresh.messages.values()), default=0)
    kept = {key: message for key, message in conversation.copy.messages.items() if message["seq"] >= oldest}
    assert replace(conversation.copy, messages=kept) == fresh


async def test_copy_follows_what_others_write(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation_id = await one.group(ann, bob)
    await one.say(bob, conversation_id, "before")
    async with chatting(one, ann) as chat:
        conversation = await chat.follow(conversation_id)
        said = await two.say(bob, conversation_id, "hello")
        await two.say(bob, conversation_id, "quoting", reply_to=said["id"])
        await until(lambda: conversation.copy is not None and len(conversation.copy.messages) == 3)
        assert conversation.copy is not None
        assert [m["content"] for m in conversation.copy.newest] == ["quoting", "hello", "before"]
        await same(conversation, chat)
        assert chat.user_id == str(ann.id)


@pytest.mark.promise("C42")
async def test_copy_knows_how_long_threads_are(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation_id = await one.group(ann, bob)
    root = await one.say(bob, conversation_id, "who is in?")
    async with chatting(one, ann) as chat:
        conversation = await chat.follow(conversation_id)
        for shown in (False, True):
            more = {"thread_root_id": root["id"], "also_in_conversation": shown}
            await two.say(bob, conversation_id, "in a thread", **more)
            await same(conversation, chat)


async def test_copy_follows_members_and_names(one: Node, people: People) -> None:
    ann, bob, carol = await people(3)
    conversation_id = await one.group(ann, bob)
    async with chatting(one, ann) as chat:
        conversation = await chat.follow(conversation_id)
        await one.call(ann, "POST", f"/conversations/{conversation_id}/members", json={"user_ids": [str(carol.id)]})
        await one.call(ann, "DELETE", f"/conversations/{conversation_id}/members/{bob.id}")
        await one.call(ann, "PATCH", f"/conversations/{conversation_id}", json={"name": "Renamed"})
        await same(conversation, chat)
        assert conversation.copy is not None
        assert conversation.copy.members == {str(ann.id): "owner", str(carol.id): "member"}
        assert conversation.copy.details["name"] == "Renamed"


@pytest.mark.promise("C42")
async def test_lost_sockets_leave_no_hole_and_nothing_twice(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation_id = await one.group(ann, bob)
    async with chatting(one, ann) as chat:
        conversation = await chat.follow(conversation_id)
        seen: list[str] = []
        chat.on_change = lambda _s, kind, data: seen.append(data["content"]) if kind == "message.new" else None
        writing = asyncio.create_task(talk(one, bob, conversation_id, 200, pause=0.01))
        for _ in range(4):
            await asyncio.sleep(0.3)
            chat.drop()
        await writing
        await until(lambda: len(seen) == 200)
        assert seen == [str(number) for number in range(200)]
        assert chat.connects > 1
        assert conversation.reloads == 1
        await same(conversation, chat)


async def test_what_was_missed_for_too_long_is_read_again(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation_id = await one.group(ann, bob)
    async with chatting(one, ann) as chat:
        conversation = await chat.follow(conversation_id)
        chat.socket_url = "ws://127.0.0.1:9/ws"
        chat.drop()
        for number in range(320):
            await one.context.writer.send(UUID(conversation_id), bob.id, content=f"{number}")
        chat.socket_url = one.socket_url
        await until(lambda: conversation.copy is not None and conversation.copy.seq == 321)
        await same(conversation, chat)
        assert conversation.reloads == 2


async def test_hole_is_mended_and_disorder_is_borne(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation_id = await one.group(ann, bob)
    async with chatting(one, ann) as chat:
        conversation = await chat.follow(conversation_id)
        client = await chat.connected()
        held: list[Frame] = []
        lost = False

        def unreliable(frame: Frame) -> None:
            nonlocal lost
            number = frame.get("q", 0)
            if number == 3 and not lost:
                lost = True
            elif number == 5 and not held:
                held.append(frame)
            else:
                for one_of in (frame, frame, *held):
                    chat._push(one_of)

        client.on_push = unreliable
        for number in range(6):
            await one.say(bob, conversation_id, f"{number}")
        await same(conversation, chat)
        assert lost
        assert conversation.replays >= 1


async def test_lost_tail_is_found_by_what_the_server_says_of_the_top(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation_id = await one.group(ann, bob)
    async with chatting(one, ann) as chat:
        conversation = await chat.follow(conversation_id)
        client = await chat.connected()
        client.on_push = lambda frame: None
        await one.say(bob, conversation_id, "lost")
        await asyncio.sleep(0.1)
        client.on_push = chat._push
        chat._push({"t": "pos", "d": {"tops": {f"c:{conversation_id}": 2}}})
        await same(conversation, chat)


async def test_resync_fetches_what_was_skipped(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation_id = await one.group(ann, bob)
    async with chatting(one, ann) as chat:
        conversation = await chat.follow(conversation_id)
        client = await chat.connected()
        client.on_push = lambda frame: None
        await one.say(bob, conversation_id, "skipped")
        await asyncio.sleep(0.1)
        client.on_push = chat._push
        chat._push({"s": f"c:{conversation_id}", "t": "resync", "d": {"top": 2}})
        await same(conversation, chat)
        assert conversation.replays == 1


@pytest.mark.promise("C1")
async def test_message_is_sent_until_it_is_acknowledged_and_stored_once(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation_id = await one.group(ann, bob)
    async with chatting(one, ann) as chat:
        conversation = await chat.follow(conversation_id)

        async def cut() -> None:
            for _ in range(8):
                await asyncio.sleep(0.15)
                chat.drop()

        cutting = asyncio.create_task(cut())
        acks = [await chat.send(conversation_id, f"{number}") for number in range(40)]
        await cutting
        assert [ack["seq"] for ack in acks] == list(range(1, 41))
        await same(conversation, chat)


async def test_what_will_not_be_accepted_is_raised_and_not_repeated(one: Node, people: People) -> None:
    [ann] = await people(1)
    conversation_id = await one.group(ann)
    async with chatting(one, ann) as chat:
        await chat.follow(conversation_id)
        with pytest.raises(Refused, match="validation_error"):
            await chat.send(conversation_id, " ")
        with pytest.raises(Refused, match="not_found"):
            await chat.send(str(uuid4()), "hello")


async def test_following_what_is_not_ones_own_says_so(one: Node, people: People) -> None:
    ann, eve = await people(2)
    conversation_id = await one.group(ann)
    async with chatting(one, eve) as chat:
        with pytest.raises(ApiError) as refused:
            await chat.follow(conversation_id)
        assert refused.value.status == 404


async def test_removal_ends_the_copy(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation_id = await one.group(ann, bob)
    async with chatting(one, bob) as chat:
        conversation = await chat.follow(conversation_id)
        await one.call(ann, "DELETE", f"/conversations/{conversation_id}/members/{bob.id}")
        await until(lambda: conversation.gone == "removed")


async def test_expired_token_is_replaced_by_a_fresh_one(
    one: Node, people: People, issue_token: Callable[..., str]
) -> None:
    [ann] = await people(1)
    conversation_id = await one.group(ann)
    asked: list[bool] = []

    async def token(fresh: bool) -> str:
        asked.append(fresh)
        return ann.token if fresh else "expired"

    async with Chat(one.url, token) as chat:
        await chat.follow(conversation_id)
        assert True in asked


async def test_token_that_runs_out_is_renewed_on_the_open_socket(
    one: Node, people: People, issue_token: Callable[..., str]
) -> None:
    [ann] = await people(1)
    renewed = asyncio.Event()

    async def token(fresh: bool) -> str:
        if fresh:
            renewed.set()
        return ann.token if fresh else issue_token(ann.id, exp=int(time.time()) + 30)

    async with Chat(one.url, token) as chat:
        await chat.connected()
        async with asyncio.timeout(10):
            await renewed.wait()
        assert chat.connects == 1


async def test_whose_session_is_over_does_not_come_back(one: Node, people: People) -> None:
    [ann] = await people(1)
    async with chatting(one, ann) as chat:
        client = await chat.connected()
        await client.raw("no JSON")
        await until(lambda: chat.ended is not None)
        assert chat.ended is not None
        assert chat.ended.code == 4500


@pytest.mark.chaos
@pytest.mark.promise("C42")
async def test_killed_process_is_left_for_another(settings_for: SettingsFor, one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation_id = await one.group(ann, bob)
    async with process(settings_for()) as (node, killed), chatting(node, ann) as chat:
        conversation = await chat.follow(conversation_id)
        await killed.end()
        chat.socket_url = one.socket_url
        chat.api._http.base_url = one.url
        await one.say(bob, conversation_id, "while it was down")
        ack = await chat.send(conversation_id, "through the other")
        assert ack["seq"] == 2
        await same(conversation, chat)
