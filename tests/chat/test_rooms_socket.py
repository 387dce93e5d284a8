"""The socket of the Rooms client: `/ws/chat/{number}/`, bare objects."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from websockets.exceptions import InvalidStatus

from libs.testing.clock import FakeClock, StillClock
from tests.chat.conftest import People, SettingsFor
from tests.chat.foreign import Foreign, foreign, with_token
from tests.chat.nodes import Node, Person, running

TOO_FAST = {"error": "You are sending messages too fast. Please wait a moment."}
NOT_READ = {"error": "Invalid message format."}


async def room(node: Node, owner: Person, *others: Person) -> tuple[str, int]:
    """Id and number of a new conversation."""
    conversation_id = await node.group(owner, *others)
    return conversation_id, (await node.call(owner, "GET", f"/conversations/{conversation_id}")).json()["number"]


@asynccontextmanager
async def inside(node: Node, number: int, *people: Person) -> AsyncIterator[list[Foreign]]:
    """Sockets that have been let in, as their first answer shows."""
    async with AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(foreign(node, with_token(f"/ws/chat/{number}/", person)))
            for person in people
        ]
        for socket in sockets:
            await socket.say("{}")
            assert await socket.next() == NOT_READ
        yield sockets


@pytest.mark.promise("K45")
async def test_message_reaches_every_member_its_sender_included(one: Node, two: Node, people: People) -> None:
    ann, bob, carol = await people(3)
    _, number = await room(one, ann, bob, carol)
    await room(one, carol, bob)
    async with inside(one, number, ann, bob) as (anns, bobs), inside(two, number, carol) as (carols,):
        await anns.say({"message": "Hello, this is a test message!"})
        heard = [await socket.next() for socket in (anns, bobs, carols)]
    assert heard[0] == heard[1] == heard[2]
    said = heard[0]
    timestamp = said.pop("timestamp")
    assert timestamp.endswith("Z")
    assert said == {
        "message_id": 1,
        "message": "Hello, this is a test message!",
        "sender_id": ann.id.int % 10**12,
        "sender": ann.name,
    }


@pytest.mark.promise("K45")
async def test_hears_what_other_clients_send(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation_id, number = await room(one, ann, bob)
    async with inside(one, number, bob) as (bobs,):
        await one.say(ann, conversation_id, "from elsewhere")
        assert (await bobs.next())["message"] == "from elsewhere"


@pytest.mark.promise("K45")
async def test_hears_of_no_other_conversation(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation_id, number = await room(one, ann, bob)
    other, _ = await room(one, ann, bob)
    async with inside(one, number, bob) as (bobs,):
        await one.say(ann, other, "there")
        await one.say(ann, conversation_id, "here")
        assert (await bobs.next())["message"] == "here"


@pytest.mark.promise("K48")
async def test_second_message_within_a_second_is_refused_and_not_stored(aging: Node, lasting: People) -> None:
    ann, bob = await lasting(2)
    conversation_id, number = await room(aging, ann, bob)
    async with inside(aging, number, ann) as (anns,):
        await anns.say({"message": "first"})
        assert (await anns.next())["message"] == "first"
        await anns.say({"message": "second"})
        assert await anns.next() == TOO_FAST
    page = (await aging.call(bob, "GET", f"/conversations/{conversation_id}/messages")).json()
    assert [message["content"] for message in page["results"]] == ["first"]


@pytest.mark.promise("K48")
async def test_of_two_messages_at_once_through_two_processes_one_is_refused(
    aging: Node, later: StillClock, settings_for: SettingsFor, lasting: People
) -> None:
    ann, bob = await lasting(2)
    conversation_id, number = await room(aging, ann, bob)
    async with (
        running(settings_for(), later) as other,
        inside(aging, number, ann) as (here,),
        inside(other, number, ann) as (there,),
    ):
        await asyncio.gather(here.say({"message": "a"}), there.say({"message": "b"}))
        refusals = [asyncio.create_task(socket.until(TOO_FAST.__eq__)) for socket in (here, there)]
        _, (winner,) = await asyncio.wait(refusals, return_when=asyncio.FIRST_COMPLETED)
        winner.cancel()
        page = (await aging.call(bob, "GET", f"/conversations/{conversation_id}/messages")).json()
    assert len(page["results"]) == 1


@pytest.mark.promise("K48")
async def test_two_conversations_and_two_users_do_not_disturb_each_other(one: Node, people: People) -> None:
    ann, bob = await people(2)
    _, number = await room(one, ann, bob)
    _, other = await room(one, ann, bob)
    async with inside(one, number, ann, bob) as (anns, bobs), inside(one, other, ann) as (elsewhere,):
        await anns.say({"message": "a"})
        assert (await anns.next())["message"] == "a"
        await bobs.say({"message": "b"})
        assert (await anns.next())["message"] == "b"
        await elsewhere.say({"message": "c"})
        assert (await elsewhere.next())["message"] == "c"


@pytest.mark.promise("K48")
async def test_after_a_second_the_next_one_passes(settings_for: SettingsFor, people: People) -> None:
    ann, bob = await people(2)
    clock = FakeClock()
    async with running(settings_for(), clock) as node:
        _, number = await room(node, ann, bob)
        async with inside(node, number, ann) as (anns,):
            for text in ("first", "second"):
                await anns.say({"message": text})
                assert (await anns.next())["message"] == text
                clock.advance(1.1)


@pytest.mark.promise("K45")
@pytest.mark.parametrize(
    ("frame", "error"),
    [
        ("nonsense", "Invalid message format."),
        ("[]", "Invalid message format."),
        ("{}", "Invalid message format."),
        ('{"message": 5}', "Invalid message format."),
        ('{"message": "a\\u0000b"}', "Invalid message format."),
        ('{"message": "\\ud800"}', "Invalid message format."),
        (b"\x00\xff", "Invalid message format."),
        ('{"message": ""}', "Message cannot be empty."),
        ('{"message": "  "}', "Message cannot be empty."),
        (json.dumps({"message": "x" * 10_001}), "Message is too long."),
    ],
    ids=range(10),
)
async def test_what_is_wrong_is_said_and_the_socket_stays(
    one: Node, people: People, frame: str | bytes, error: str
) -> None:
    ann, bob = await people(2)
    _, number = await room(one, ann, bob)
    async with inside(one, number, ann) as (anns,):
        await anns.say(frame)
        assert await anns.next() == {"error": error}
        await anns.say({"message": "still here"})
        assert (await anns.next())["message"] == "still here"


@pytest.mark.promise("K49")
@pytest.mark.parametrize("query", ["", "?token=", "?token=x", "?token=a.b.c", "?token=pat_x", "?other=1"])
async def test_without_a_good_token_4001(one: Node, people: People, query: str) -> None:
    ann, bob = await people(2)
    _, number = await room(one, ann, bob)
    async with foreign(one, f"/ws/chat/{number}/{query}") as socket:
        assert await socket.code() == 4001


@pytest.mark.promise("K49")
async def test_expired_token_4001(one: Node, people: People, issue_token: Callable[..., str]) -> None:
    ann, bob = await people(2)
    _, number = await room(one, ann, bob)
    ann.token = issue_token(ann.id, exp=1_000_000_000)
    async with foreign(one, with_token(f"/ws/chat/{number}/", ann)) as socket:
        assert await socket.code() == 4001


@pytest.mark.promise("K49")
@pytest.mark.parametrize("name", ["", "0", "-1", "x", "99999999999999999999999", "999999999999", "1e3", "%C2%B2"])
async def test_where_there_is_no_conversation_4003(one: Node, people: People, name: str) -> None:
    (ann,) = await people(1)
    if not name:
        stranger, other = await people(2)
        _, number = await room(one, stranger, other)
        name = str(number)
    async with foreign(one, with_token(f"/ws/chat/{name}/", ann)) as socket:
        assert await socket.code() == 4003


@pytest.mark.promise("K49")
async def test_removed_member_is_closed_4003(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation_id, number = await room(one, ann, bob)
    async with inside(one, number, bob) as (bobs,):
        await one.call(ann, "DELETE", f"/conversations/{conversation_id}/members/{bob.id}")
        assert await bobs.code() == 4003


@pytest.mark.promise("K49")
async def test_token_that_expires_on_an_open_socket_4001(settings_for: SettingsFor, people: People) -> None:
    ann, bob = await people(2)
    clock = FakeClock()
    async with running(settings_for(), clock) as node:
        _, number = await room(node, ann, bob)
        async with inside(node, number, bob) as (bobs,):
            clock.advance(24 * 3600)
            assert await bobs.code() == 4001


async def test_token_may_stand_in_the_header_or_beside_a_name(one: Node, people: People) -> None:
    ann, bob = await people(2)
    _, number = await room(one, ann, bob)
    path = f"/ws/chat/{number}"
    async with foreign(one, path, Authorization=f"Bearer {ann.token}") as socket:
        await socket.say("{}")
        assert await socket.next() == NOT_READ
    async with foreign(one, path, "bearer", ann.token) as socket:
        assert socket.socket.subprotocol == "bearer"
        await socket.say("{}")
        assert await socket.next() == NOT_READ


async def test_flood_of_frames_is_closed_4029(one: Node, people: People) -> None:
    ann, bob = await people(2)
    _, number = await room(one, ann, bob)
    async with inside(one, number, ann) as (anns,):
        for _ in range(60):
            await anns.say("{}")
        assert await anns.code() == 4029


async def test_frame_over_64_kib_is_closed_1009(one: Node, people: People) -> None:
    ann, bob = await people(2)
    _, number = await room(one, ann, bob)
    async with inside(one, number, ann) as (anns,):
        await anns.say({"message": "x" * 70_000})
        assert await anns.code() == 1009


async def test_client_can_be_switched_off(settings_for: SettingsFor, people: People) -> None:
    ann, bob = await people(2)
    async with running(settings_for(existing_clients=["hub"])) as node:
        _, number = await room(node, ann, bob)
        with pytest.raises(InvalidStatus):
            async with foreign(node, with_token(f"/ws/chat/{number}/", ann)):
                pass
        answer = await node.http.get("/api/chat/conversations/", headers=ann.headers)
        assert answer.status_code == 404
