"""The socket of the Hub client: `/ws/messages/`, `{event, data}` with keys in camel case."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.exceptions import InvalidStatus

from libs.testing.clock import FakeClock
from tests.chat.conftest import People, SettingsFor
from tests.chat.foreign import Foreign, Frame, foreign, with_token
from tests.chat.nodes import Node, Person, running

PATH = "/ws/messages/"
M_KEYS = {
    *("id", "conversationId", "platformMessageId", "senderId", "senderName", "content", "messageType", "mediaUrl"),
    *("isOutgoing", "isRead", "sentAt", "deliveredAt", "createdAt"),
}
K_KEYS = {
    *("id", "accountId", "platform", "platformConversationId", "participantName", "participantId"),
    *("participantAvatarUrl", "lastMessageAt", "unreadCount", "createdAt", "updatedAt"),
}


def event(name: str) -> Callable[[Frame], bool]:
    return lambda frame: frame["event"] == name


@asynccontextmanager
async def window(node: Node, person: Person) -> AsyncIterator[Foreign]:
    """An open socket that has said who is there."""
    async with foreign(node, with_token(PATH, person)) as socket:
        assert (await socket.next())["event"] == "authenticated"
        yield socket


@pytest.mark.promise("K24")
@pytest.mark.parametrize("path", ["/ws/messages/", "/ws/messages"])
async def test_authenticated_comes_first(one: Node, people: People, issue_token: Callable[..., str], path: str) -> None:
    ann, bob = await people(2)
    await one.group(ann, bob)
    ann.token = issue_token(ann.id, email="ann@example.com")
    async with foreign(one, with_token(path, ann)) as socket:
        assert await socket.next() == {
            "event": "authenticated",
            "data": {"userId": str(ann.id), "email": "ann@example.com", "realtime": True},
        }


@pytest.mark.promise("K24")
async def test_new_message_reaches_every_window_of_every_member(one: Node, two: Node, people: People) -> None:
    ann, bob, carol = await people(3)
    conversation = await one.group(ann, bob, kind="direct")
    await one.group(carol, bob)
    async with window(one, ann) as first, window(two, ann) as second, window(one, bob) as bobs:
        sent = await one.say(ann, conversation, "hi")
        heard = [await socket.until(event("new_message")) for socket in (first, second, bobs)]
    for frame in heard:
        data = frame["data"]
        assert data.keys() == {"message", "conversation", "timestamp"}
        assert (data["message"].keys(), data["conversation"].keys()) == (M_KEYS, K_KEYS)
    assert [frame["data"]["message"]["isOutgoing"] for frame in heard] == [True, True, False]
    message, told = heard[2]["data"]["message"], heard[2]["data"]["conversation"]
    assert message["id"] == message["platformMessageId"] == sent["id"]
    assert message["conversationId"] == told["id"] == told["platformConversationId"] == conversation
    assert (message["content"], message["messageType"], message["senderId"]) == ("hi", "text", str(ann.id))
    assert (told["accountId"], told["platform"]) == (str(bob.id), "parley")
    assert (told["participantId"], told["unreadCount"]) == (str(ann.id), 1)


@pytest.mark.promise("K24")
async def test_unread_count_follows_messages_and_reading(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with window(one, bob) as bobs:
        await one.say(ann, conversation, "hi")
        counted = (await bobs.until(event("unread_count_update")))["data"]
        assert (counted["unreadCounts"], counted["totalUnread"]) == ({"parley": 1}, 1)
        await one.call(bob, "POST", f"/conversations/{conversation}/read", json={"seq": 1})
        counted = (await bobs.until(event("unread_count_update")))["data"]
        assert (counted["unreadCounts"], counted["totalUnread"]) == ({"parley": 0}, 0)


@pytest.mark.promise("K24")
async def test_status_of_ones_messages_follows_the_other_side(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with window(one, ann) as anns, window(two, bob):
        sent = await one.say(ann, conversation, "hi")
        delivered = (await anns.until(event("message_status_update")))["data"]
        await one.call(bob, "POST", f"/conversations/{conversation}/read", json={"seq": 1})
        read = (await anns.until(event("message_status_update")))["data"]
    assert delivered.pop("timestamp") <= read.pop("timestamp")
    assert delivered == {"messageId": sent["id"], "conversationId": conversation, "status": "delivered"}
    assert read == {"messageId": sent["id"], "conversationId": conversation, "status": "read"}


@pytest.mark.promise("K24")
async def test_new_conversation_is_heard_with_its_first_message(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    async with window(two, bob) as bobs:
        conversation = await one.group(ann, bob)
        await one.say(ann, conversation, "first")
        heard = await bobs.until(event("new_message"))
        assert heard["data"]["message"]["content"] == "first"
        assert "conversation_update" in [frame["event"] for frame in bobs.heard]


@pytest.mark.promise("K24")
async def test_renamed_conversation_is_told(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with window(one, bob) as bobs:
        await one.call(ann, "PATCH", f"/conversations/{conversation}", json={"name": "Renamed"})
        told = (await bobs.until(event("conversation_update")))["data"]["conversation"]
        assert (told["id"], told["participantName"]) == (conversation, "Renamed")


@pytest.mark.promise("K24")
async def test_nothing_is_heard_of_others_nor_after_leaving(one: Node, people: People) -> None:
    ann, bob, carol = await people(3)
    conversation = await one.group(ann, bob, carol)
    foreign_one = await one.group(ann, carol)
    async with window(one, bob) as bobs:
        await one.say(ann, foreign_one, "secret")
        await one.call(ann, "DELETE", f"/conversations/{conversation}/members/{bob.id}")
        await one.say(ann, conversation, "secret too")
        await bobs.say({"event": "ping", "timestamp": 1})
        await bobs.until(event("pong"))
        assert "new_message" not in [frame["event"] for frame in bobs.heard]


@pytest.mark.promise("K24")
@pytest.mark.parametrize("timestamp", [1700000000000, "2025-01-01T00:00:00Z", None])
async def test_ping_is_answered_without_data(one: Node, people: People, timestamp: object) -> None:
    (ann,) = await people(1)
    async with window(one, ann) as anns:
        await anns.say({"event": "ping", "timestamp": timestamp})
        assert await anns.next() == {"event": "pong", "timestamp": timestamp}


@pytest.mark.promise("K24")
@pytest.mark.parametrize("frame", ["nonsense", "[]", "{}", '{"event": "unknown"}', '{"event": 5}', b"\x00\xff"])
async def test_broken_frame_leaves_the_socket_open(one: Node, people: People, frame: str | bytes) -> None:
    (ann,) = await people(1)
    async with window(one, ann) as anns:
        await anns.say(frame)
        told = await anns.next()
        assert told["event"] == "error"
        assert told["data"].keys() == {"error", "code", "message", "timestamp"}
        assert told["data"]["code"] == "INVALID_MESSAGE"
        await anns.say({"event": "ping"})
        assert await anns.next() == {"event": "pong", "timestamp": None}


@pytest.mark.promise("K24")
@pytest.mark.parametrize("query", ["", "?token=", "?token=a.b.c", "?token=pat_x", "?token=x&token=y"])
async def test_bad_token_4001(one: Node, query: str) -> None:
    async with foreign(one, PATH + query) as socket:
        assert await socket.code() == 4001


@pytest.mark.promise("K24")
async def test_token_that_expires_on_an_open_socket_4001(settings_for: SettingsFor, people: People) -> None:
    (ann,) = await people(1)
    clock = FakeClock()
    async with running(settings_for(), clock) as node, window(node, ann) as anns:
        clock.advance(24 * 3600)
        assert await anns.code() == 4001


async def test_restart_closes_1012(settings_for: SettingsFor, people: People) -> None:
    (ann,) = await people(1)
    async with running(settings_for()) as node, foreign(node, with_token(PATH, ann)) as anns:
        await anns.next()
        for session in list(node.context.hub.sessions):
            session.leave()
        assert await anns.code() == 1012


async def test_silent_client_stays_as_long_as_its_socket_answers(settings_for: SettingsFor, people: People) -> None:
    (ann,) = await people(1)
    settings = settings_for(heartbeat_seconds=0.1, idle_seconds=600)
    async with running(settings) as node, window(node, ann) as anns:
        (session,) = node.context.hub.sessions
        opened = session.heard
        async with asyncio.timeout(30):
            while session.heard < opened + 1:
                await asyncio.sleep(0.05)
        # As it is ten minutes after it was opened.
        session.visit(opened + 600.5, 0)
        assert not session.closed
        await anns.say({"event": "ping"})
        assert await anns.next() == {"event": "pong", "timestamp": None}


async def test_missed_news_of_a_conversation_is_made_up_for(settings_for: SettingsFor, people: People) -> None:
    """Redis may lose the word that a conversation is there."""
    ann, bob = await people(2)
    async with running(settings_for(heartbeat_seconds=0.2)) as node, window(node, bob) as bobs:
        node.context.hub.publish_to_user = lambda *_: None  # type: ignore[method-assign]
        conversation = await node.group(ann, bob)
        await node.say(ann, conversation, "found")
        assert (await bobs.until(event("new_message")))["data"]["message"]["content"] == "found"


async def test_client_can_be_switched_off(settings_for: SettingsFor, people: People) -> None:
    (ann,) = await people(1)
    async with running(settings_for(existing_clients=["rooms"])) as node:
        with pytest.raises(InvalidStatus):
            async with foreign(node, with_token(PATH, ann)):
                pass
