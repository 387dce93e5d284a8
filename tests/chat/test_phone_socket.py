"""The socket of the Phone client: `/ws/` without `chat.v1`, frames `{stream, payload}`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from chat_service.domain import frames, hub, watching
from libs.testing.clock import FakeClock
from tests.chat.conftest import People, SettingsFor
from tests.chat.foreign import Foreign, Frame, foreign, with_token
from tests.chat.nodes import Node, Person, running, shared

STREAMS = ["auth", "chat", "presence", "interest", "notification", "system"]


def token_frame(token: object) -> Frame:
    return {"stream": "auth", "payload": {"type": "token", "token": token}}


def chat(**payload: object) -> Frame:
    return {"stream": "chat", "payload": payload}


def of(stream: str, kind: str) -> Callable[[Frame], bool]:
    return lambda frame: (frame["stream"], frame["payload"]["type"]) == (stream, kind)


@asynccontextmanager
async def phone(node: Node, person: Person) -> AsyncIterator[Foreign]:
    """A socket that is ready."""
    async with foreign(node, "/ws/") as socket:
        await socket.say(token_frame(person.token))
        assert (await socket.next())["payload"]["type"] == "ready"
        yield socket


@pytest.mark.promise("K44")
@pytest.mark.parametrize("path", ["/ws/", "/ws"])
async def test_first_frame_brings_the_token(one: Node, people: People, path: str) -> None:
    (ann,) = await people(1)
    async with foreign(one, path) as socket:
        await socket.say(token_frame(ann.token))
        assert await socket.next() == {
            "stream": "auth",
            "payload": {"type": "ready", "user_id": str(ann.id), "streams": STREAMS},
        }


@pytest.mark.promise("K44")
async def test_handshake_may_bring_it(one: Node, people: People) -> None:
    (ann,) = await people(1)
    async with foreign(one, "/ws/", Authorization=f"Bearer {ann.token}") as socket:
        assert (await socket.next())["payload"]["type"] == "ready"
    async with foreign(one, "/ws/", "bearer", ann.token) as socket:
        assert (await socket.next())["payload"]["type"] == "ready"


@pytest.mark.promise("K44")
async def test_message_is_acknowledged_and_reaches_the_others(one: Node, two: Node, people: People) -> None:
    ann, bob, carol = await people(3)
    conversation = await one.group(ann, bob)
    await one.group(carol, ann)
    client_id = str(uuid4())
    async with phone(one, ann) as anns, phone(two, ann) as desk, phone(two, bob) as bobs:
        await anns.say(
            chat(type="send", conversation_id=conversation, content="hi", message_type="text", client_id=client_id)
        )
        sent = (await anns.until(of("chat", "sent")))["payload"]
        heard = [(await socket.until(of("chat", "message")))["payload"]["message"] for socket in (desk, bobs)]
        stored = (await one.call(bob, "GET", f"/messages/{sent['message']['id']}")).json()
    assert sent["client_id"] == client_id
    for message in (sent["message"], *heard):
        assert shared(message) == shared(stored)
    assert stored["content"] == "hi"


@pytest.mark.promise("K44")
async def test_what_was_sent_is_not_told_twice(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with phone(one, ann) as anns:
        await anns.say(chat(type="send", conversation_id=conversation, content="mine"))
        await one.say(bob, conversation, "theirs")
        heard = (await anns.until(of("chat", "message")))["payload"]["message"]
        assert heard["content"] == "theirs"


@pytest.mark.promise("K44")
async def test_repeated_send_is_stored_once(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    frame = chat(type="send", conversation_id=conversation, content="hi", client_id=str(uuid4()))
    async with phone(one, ann) as first, phone(one, ann) as second:
        await asyncio.gather(first.say(frame), second.say(frame))
        sent = [(await socket.until(of("chat", "sent")))["payload"]["message"]["id"] for socket in (first, second)]
    assert len(set(sent)) == 1


@pytest.mark.promise("K44")
async def test_edits_and_deletions_are_told(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    message = await one.say(ann, conversation, "hi")
    async with phone(one, bob) as bobs:
        await one.call(ann, "PATCH", f"/messages/{message['id']}", json={"content": "hello"})
        edited = (await bobs.until(of("chat", "edited")))["payload"]["message"]
        await one.call(ann, "DELETE", f"/messages/{message['id']}")
        deleted = (await bobs.until(of("chat", "deleted")))["payload"]["message"]
    assert (edited["id"], edited["content"]) == (message["id"], "hello")
    assert (deleted["id"], deleted["content"]) == (message["id"], "")


@pytest.mark.promise("K44")
async def test_interest_is_told(one: Node, people: People) -> None:
    ann, bob = await people(2)
    async with phone(one, bob) as bobs:
        await one.call(ann, "POST", "/interests", json={"to_user": str(bob.id)})
        told = (await bobs.until(of("interest", "interest")))["payload"]
    assert told["action"] == "received"
    assert told["interest"]["status"] == "pending"


@pytest.mark.promise("K44")
async def test_reading_and_typing_are_told(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    await one.say(ann, conversation, "hi")
    async with phone(one, ann) as anns, phone(two, bob) as bobs:
        await bobs.say(chat(type="typing", conversation_id=conversation, is_typing=True))
        typing = (await anns.until(of("chat", "typing")))["payload"]
        await bobs.say(chat(type="read", conversation_id=conversation, seq=1))
        receipt = (await anns.until(lambda f: f["payload"].get("status") == "read"))["payload"]
    who = {"conversation_id": conversation, "user_id": str(bob.id)}
    assert typing == {"type": "typing", **who, "is_typing": True}
    assert receipt == {"type": "receipt", **who, "seq": 1, "status": "read"}


@pytest.mark.promise("K44")
async def test_watched_people_are_told_of(one: Node, people: People) -> None:
    ann, bob = await people(2)
    async with phone(one, ann) as anns:
        await anns.say({"stream": "presence", "payload": {"type": "watch", "user_ids": [str(bob.id)]}})
        told = (await anns.until(of("presence", "presence")))["payload"]
        assert told == {"type": "presence", "user_id": str(bob.id), "is_online": False, "last_seen": None}
        # As the worker says it, which decides who is here.
        said = {"changed": [(str(bob.id), "online", None)]}
        one.context.bus.publish(watching.CHANNEL, frames.dump(said))
        told = (await anns.until(of("presence", "presence")))["payload"]
        assert (told["user_id"], told["is_online"]) == (str(bob.id), True)


@pytest.mark.promise("K44")
@pytest.mark.parametrize("user_ids", [None, 5, ["x"], [str(uuid4()) for _ in range(201)]], ids=range(4))
async def test_list_of_the_watched_that_is_none(one: Node, people: People, user_ids: object) -> None:
    (ann,) = await people(1)
    async with phone(one, ann) as anns:
        await anns.say({"stream": "presence", "payload": {"type": "watch", "user_ids": user_ids}})
        told = await anns.next()
        assert (told["stream"], told["payload"]["code"]) == ("presence", "validation_error")


@pytest.mark.promise("K44")
async def test_notification_is_told_and_its_faults_are(one: Node, people: People) -> None:
    ann, bob = await people(2)
    shown = {"notification": {"id": str(uuid4()), "title": "Hi"}, "unread_count": 3}
    async with phone(one, ann) as anns:
        # As notify says it.
        one.context.bus.publish(hub.notification_channel(bob.id), frames.dump({"unread_count": 9}))
        one.context.bus.publish(hub.notification_channel(ann.id), frames.dump(shown))
        assert await anns.next() == {"stream": "notification", "payload": {"type": "notification", **shown}}
        for said, code in ((None, "validation_error"), ("x", "validation_error"), (str(uuid4()), "unavailable")):
            await anns.say({"stream": "notification", "payload": {"type": "read", "id": said}})
            told = await anns.next()
            assert (told["stream"], told["payload"]["code"]) == ("notification", code)


@pytest.mark.promise("K44")
async def test_ping(one: Node, people: People) -> None:
    (ann,) = await people(1)
    async with phone(one, ann) as anns:
        await anns.say({"stream": "system", "payload": {"type": "ping", "timestamp": 5}})
        assert await anns.next() == {"stream": "system", "payload": {"type": "pong", "timestamp": 5}}


@pytest.mark.promise("K44")
@pytest.mark.parametrize(
    ("frame", "stream", "code"),
    [
        ("nonsense", "system", "validation_error"),
        ("[]", "system", "validation_error"),
        ('{"stream": "chat"}', "system", "validation_error"),
        ('{"stream": "chat", "payload": 5}', "system", "validation_error"),
        ('{"stream": "x", "payload": {"type": "send"}}', "system", "unknown_stream"),
        ('{"stream": 5, "payload": {"type": "send"}}', "system", "unknown_stream"),
        ('{"stream": [], "payload": {"type": "send"}}', "system", "unknown_stream"),
        ('{"stream": "chat", "payload": {"type": "x"}}', "chat", "unknown_type"),
        ('{"stream": "chat", "payload": {"type": []}}', "chat", "unknown_type"),
        ('{"stream": "interest", "payload": {}}', "interest", "unknown_type"),
        ('{"stream": "presence", "payload": {"type": "send"}}', "presence", "unknown_type"),
        (b"\x00\xff", "system", "validation_error"),
    ],
    ids=range(12),
)
async def test_broken_frames_are_answered_on_their_stream(
    one: Node, people: People, frame: str | bytes, stream: str, code: str
) -> None:
    (ann,) = await people(1)
    async with phone(one, ann) as anns:
        await anns.say(frame)
        told = await anns.next()
        assert (told["stream"], told["payload"]["type"], told["payload"]["code"]) == (stream, "error", code)
        await anns.say({"stream": "system", "payload": {"type": "ping"}})
        assert (await anns.next())["payload"]["type"] == "pong"


@pytest.mark.promise("K44")
@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"type": "send", "content": "hi"}, "not_found"),
        ({"type": "send", "conversation_id": 5, "content": "hi"}, "not_found"),
        ({"type": "send", "conversation_id": "foreign", "content": "hi"}, "not_found"),
        ({"type": "send", "conversation_id": "own"}, "validation_error"),
        ({"type": "send", "conversation_id": "own", "content": " "}, "validation_error"),
        ({"type": "send", "conversation_id": "own", "content": "hi", "client_id": "x"}, "validation_error"),
        ({"type": "send", "conversation_id": "own", "content": "hi", "message_type": "x"}, "validation_error"),
        ({"type": "read", "conversation_id": "foreign", "seq": 1}, "not_found"),
        ({"type": "read", "conversation_id": "own", "seq": "1"}, "validation_error"),
        ({"type": "typing", "conversation_id": "foreign", "is_typing": True}, "not_found"),
        ({"type": "typing", "conversation_id": "own", "is_typing": "yes"}, "validation_error"),
    ],
    ids=range(11),
)
async def test_rules_are_those_of_everybody(one: Node, people: People, payload: Frame, code: str) -> None:
    ann, bob, carol = await people(3)
    there = {"own": await one.group(ann, bob), "foreign": await one.group(bob, carol)}
    name = payload.get("conversation_id")
    if isinstance(name, str):
        payload = {**payload, "conversation_id": there[name]}
    async with phone(one, ann) as anns:
        await anns.say({"stream": "chat", "payload": {"client_id": str(uuid4()), **payload}})
        told = (await anns.next())["payload"]
        assert (told["type"], told["code"]) == ("error", code)
        if payload["type"] == "send":
            assert told["client_id"]


@pytest.mark.promise("K44")
async def test_no_token_within_ten_seconds_4001(settings_for: SettingsFor, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(settings_for()) as node, foreign(node, "/ws/") as socket:
        await socket.say(chat(type="send"))
        assert (await socket.next())["payload"]["code"] == "not_authenticated"
        monkeypatch.setattr("chat_service.domain.sessions.HELLO_SECONDS", 0.2)
        assert await socket.code() == 4001


@pytest.mark.promise("K44")
@pytest.mark.parametrize("token", ["", "a.b.c", "x", 5, None, ["x"]])
async def test_bad_token_4401(one: Node, token: object) -> None:
    async with foreign(one, "/ws/") as socket:
        await socket.say(token_frame(token))
        assert await socket.code() == 4401


@pytest.mark.promise("K44")
async def test_token_in_the_address_counts_for_nothing(one: Node, people: People) -> None:
    (ann,) = await people(1)
    async with foreign(one, with_token("/ws/", ann)) as socket:
        await socket.say(chat(type="send"))
        assert (await socket.next())["payload"]["code"] == "not_authenticated"


@pytest.mark.promise("K44")
async def test_expiry_is_announced_and_the_same_frame_renews(
    settings_for: SettingsFor, people: People, issue_token: Callable[..., str]
) -> None:
    (ann,) = await people(1)
    clock = FakeClock()
    async with running(settings_for(), clock) as node:
        now = int(clock.seconds())
        ann.token = issue_token(ann.id, exp=now + 300)
        async with phone(node, ann) as anns:
            clock.advance(250)
            expiring = (await anns.until(of("auth", "expiring")))["payload"]
            assert 0 < expiring["expires_in"] <= 60
            await anns.say(token_frame(issue_token(ann.id, exp=now + 3600)))
            await anns.until(of("auth", "ready"))
            clock.advance(100)
            await anns.say({"stream": "system", "payload": {"type": "ping"}})
            await anns.until(of("system", "pong"))
            clock.advance(7200)
            assert await anns.code() == 4401


@pytest.mark.promise("K44")
async def test_another_persons_token_renews_nothing(one: Node, people: People) -> None:
    ann, bob = await people(2)
    async with phone(one, ann) as anns:
        await anns.say(token_frame(bob.token))
        told = await anns.next()
        assert (told["stream"], told["payload"]["code"]) == ("auth", "invalid_token")


@pytest.mark.promise("K44")
async def test_flood_4029_and_large_frame_4507(one: Node, people: People) -> None:
    (ann,) = await people(1)
    async with phone(one, ann) as anns:
        for _ in range(60):
            await anns.say({"stream": "system", "payload": {"type": "ping"}})
        assert await anns.code() == 4029
    async with phone(one, ann) as anns:
        await anns.say("x" * 65_537)
        assert await anns.code() == 4507


@pytest.mark.promise("K44")
async def test_restart_is_said(settings_for: SettingsFor, people: People) -> None:
    (ann,) = await people(1)
    async with running(settings_for()) as node, phone(node, ann) as anns:
        for session in list(node.context.hub.sessions):
            session.leave()
        told = (await anns.next())["payload"]
        assert (told["type"], await anns.code()) == ("restart", 4000)
        assert told["retry_ms"] > 0


# One conversation alone, for clients of the Platform


@asynccontextmanager
async def bound(node: Node, person: Person, conversation: str) -> AsyncIterator[Foreign]:
    """A socket that has been let in, as its first answer shows."""
    async with foreign(node, with_token(f"/ws/chat/{conversation}/", person)) as socket:
        await socket.say("{}")
        assert (await socket.next())["code"] == "unknown_type"
        yield socket


async def test_socket_of_one_conversation_has_no_envelope(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation, other = await one.group(ann, bob), await one.group(ann, bob)
    async with bound(one, ann, conversation) as anns, bound(two, bob, conversation) as bobs:
        await one.say(ann, other, "elsewhere")
        await anns.say({"type": "send", "content": "hi", "conversation_id": other})
        assert (await anns.next())["type"] == "sent"
        told = await bobs.next()
        assert (told["type"], told["message"]["content"]) == ("message", "hi")
        assert told["message"]["conversation_id"] == conversation


async def test_socket_of_one_conversation_closes_as_documented(one: Node, people: People) -> None:
    ann, bob, carol = await people(3)
    conversation = await one.group(ann, bob)
    path = f"/ws/chat/{conversation}/"
    for person, name, code in ((carol, path, 4003), (ann, f"/ws/chat/{uuid4()}/", 4003)):
        async with foreign(one, with_token(name, person)) as socket:
            assert await socket.code() == code
    async with foreign(one, path) as socket:
        assert await socket.code() == 4001
    async with bound(one, bob, conversation) as bobs:
        await one.call(ann, "DELETE", f"/conversations/{conversation}/members/{bob.id}")
        assert await bobs.code() == 4003
