"""Opening a socket, staying on it, and the ways in which it ends."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from chat_service.domain import sessions
from libs import revocation
from libs.keys import KeyRing
from libs.testing.clock import FakeClock
from libs.testing.tokens import access_claims
from libs.tokens import Issuer
from parley_client import ChatClient, Closed, Refused
from tests.chat.conftest import People, SettingsFor
from tests.chat.nodes import Node, Person, running


@contextlib.asynccontextmanager
async def opened(node: Node, **options: Any) -> AsyncIterator[ChatClient]:
    client = ChatClient(node.socket_url)
    await client.open(**options)
    try:
        yield client
    finally:
        await client.close()


async def ticket(node: Node, person: Person) -> str:
    answer = await node.call(person, "POST", "/ws-tickets")
    assert (answer.status_code, answer.json()["expires_in"]) == (201, 30)
    found: str = answer.json()["ticket"]
    return found


async def test_welcome_says_what_holds_on_the_socket(one: Node, people: People) -> None:
    [ann] = await people(1)
    async with opened(one) as client:
        welcome = await client.hello(ann.token)
    assert client.socket.subprotocol == "chat.v1"
    assert welcome["user"] == str(ann.id)
    assert (welcome["hb_ms"], welcome["max_frame"], welcome["streams"]) == (25_000, 65_536, {})


@pytest.mark.promise("C54")
@pytest.mark.parametrize("way", ["header", "subprotocol", "ticket as subprotocol", "ticket in hello"])
async def test_credential_is_taken_wherever_it_is_not_in_the_address(one: Node, people: People, way: str) -> None:
    [ann] = await people(1)
    options: dict[str, Any] = {}
    hello: dict[str, Any] = {}
    if way == "header":
        options["headers"] = ann.headers
    elif way == "subprotocol":
        options["subprotocols"] = ["chat.v1", "bearer", ann.token]
    elif way == "ticket as subprotocol":
        options["subprotocols"] = ["chat.v1", "t." + await ticket(one, ann)]
    else:
        hello["ticket"] = await ticket(one, ann)
    async with opened(one, **options) as client:
        assert (await client.hello(**hello))["user"] == str(ann.id)
        assert client.socket.subprotocol == "chat.v1"


@pytest.mark.promise("L10")
async def test_half_a_sign_in_opens_no_socket(one: Node, people: People, key_ring: KeyRing) -> None:
    [ann] = await people(1)
    async with opened(one) as client:
        with pytest.raises(Refused) as refused:
            await client.hello(Issuer(key_ring, typ="mfa+jwt").sign(access_claims(ann.id)))
        assert refused.value.code == "wrong_token_type"
        assert (await client.until_closed()).code == 4401


@pytest.mark.promise("C54")
async def test_ticket_opens_one_socket_and_not_a_second(one: Node, two: Node, people: People) -> None:
    [ann] = await people(1)
    once = await ticket(one, ann)
    async with opened(two) as client:
        await client.hello(ticket=once)
    async with opened(one) as client:
        with pytest.raises(Refused) as refused:
            await client.hello(ticket=once)
        assert refused.value.code == "invalid_token"
        assert (await client.until_closed()).code == 4401


@pytest.mark.promise("C54")
async def test_ticket_of_a_session_that_has_ended_opens_nothing(
    one: Node, redis: Redis, people: People, issue_token: Callable[..., str]
) -> None:
    [ann] = await people(1)
    session_id = str(uuid4())
    ann.token = issue_token(ann.id, sid=session_id)
    held = await ticket(one, ann)
    await revocation.publish_session(redis, session_id)
    async with opened(one) as client:
        with pytest.raises(Refused) as refused:
            await client.hello(ticket=held)
        assert refused.value.code == "token_revoked"
        assert (await client.until_closed()).code == 4504


async def test_tickets_expire_and_are_not_stored_as_they_are(one: Node, redis: Redis, people: People) -> None:
    [ann] = await people(1)
    text = await ticket(one, ann)
    keys = [key async for key in redis.scan_iter("wt:*")]
    assert keys
    assert all(text.encode() not in key for key in keys)
    assert 0 < await redis.ttl("wt:" + hashlib.sha256(text.encode()).hexdigest()) <= 30


@pytest.mark.parametrize("token", ["", "x", "a.b.c", 7, None])
async def test_bad_token_is_refused_and_the_socket_closed(one: Node, token: Any) -> None:
    async with opened(one) as client:
        with pytest.raises(Refused):
            await client.request("hello", data={"v": 1, "token": token})
        assert (await client.until_closed()).code == 4401


async def test_socket_without_hello_is_closed(one: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "HELLO_SECONDS", 0.2)
    async with opened(one) as client:
        assert (await client.until_closed()).code == 4001


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5])
async def test_other_versions_are_not_spoken(one: Node, people: People, version: object) -> None:
    [ann] = await people(1)
    async with opened(one) as client:
        await client.raw(json.dumps({"i": 1, "op": "hello", "d": {"v": version, "token": ann.token}}))
        assert (await client.until_closed()).code == 4501


MALFORMED = [
    "",
    "{",
    "null",
    "[]",
    "17",
    '"hello"',
    "{}",
    '{"op": 1}',
    '{"op": null}',
    '{"i": "1", "op": "ping"}',
    '{"i": -1, "op": "ping"}',
    '{"i": 4294967296, "op": "ping"}',
    '{"i": 1.5, "op": "ping"}',
    '{"i": true, "op": "ping"}',
    '{"op": "ping", "d": []}',
    '{"op": "ping", "d": "x"}',
    '{"op": "ping"} trailing',
    '{"op": "ping"',
    '{"op": "\\ud800"}',
    "[" * 5000,
    '{"op": "ping", "d": {"a": ' * 2000,
    "\x00",
    "\ufeff{}",
    b"binary",
    b"\xff\xfe",
]


@pytest.mark.parametrize("frame", MALFORMED, ids=range(len(MALFORMED)))
async def test_malformed_frame_closes_with_4500(one: Node, people: People, frame: str | bytes) -> None:
    [ann] = await people(1)
    async with one.client(ann) as client:
        await client.raw(frame)
        assert (await client.until_closed()).code == 4500
    async with opened(one) as stranger:
        await stranger.raw(frame)
        assert (await stranger.until_closed()).code == 4500


async def test_invalid_utf8_in_a_text_frame_closes(one: Node, people: People) -> None:
    [ann] = await people(1)
    async with one.client(ann) as client:
        await client.socket.send(b'{"op": "\xff"}', text=True)
        assert (await client.until_closed()).code in (1007, 4500)


async def test_operation_before_hello_closes(one: Node) -> None:
    async with opened(one) as client:
        await client.raw('{"i":1,"op":"ping"}')
        assert (await client.until_closed()).code == 4500


async def test_what_follows_hello_at_once_is_done_after_welcome(one: Node, people: People) -> None:
    [ann] = await people(1)
    async with opened(one) as client:
        hello = {"i": 900, "op": "hello", "d": {"v": 1, "token": ann.token}}
        await client.raw(json.dumps(hello) + '\n{"op":"ping"}')
        _, answer = await client.ask("ping")
        assert await answer == {}


async def test_unknown_operation_is_refused_and_the_socket_stays(one: Node, people: People) -> None:
    [ann] = await people(1)
    async with one.client(ann) as client:
        for op in ("dance", "hello", "__class__"):
            with pytest.raises(Refused) as refused:
                await client.request(op)
            assert refused.value.code == "unknown_op"
        await client.request("ping")


@pytest.mark.parametrize(("size", "code"), [(65_537, 4507), (200_000, 4507), (300_000, 1009)])
async def test_frame_that_is_too_large_closes(one: Node, people: People, size: int, code: int) -> None:
    [ann] = await people(1)
    async with one.client(ann) as client:
        with contextlib.suppress(Closed):
            await client.raw("x" * size)
        assert (await client.until_closed()).code == code


async def test_heartbeats_come_and_silence_ends_the_socket(people: People, settings_for: SettingsFor) -> None:
    async with running(settings_for(heartbeat_seconds=0.2, idle_seconds=600)) as node:
        ann, bob = await people(2)
        async with node.client(ann) as lively, opened(node) as silent:
            await silent.hello(bob.token)
            silent._take = _ignore  # type: ignore[method-assign]
            heard, unheard = (next(iter(node.context.hub.users[person.id])) for person in (ann, bob))
            async with asyncio.timeout(30):
                while heard.heard < unheard.heard + 1:
                    await asyncio.sleep(0.05)
            # As it is ten minutes after the last word of the silent one.
            for session in (heard, unheard):
                session.visit(unheard.heard + 600.5, 0)
            assert (await silent.until_closed()).code == 4012
            await lively.request("ping")


async def _ignore(_frame: dict[str, Any]) -> None:
    """A client that does not answer heartbeats."""


@pytest.mark.promise("C55")
async def test_expiring_token_can_be_renewed_on_the_open_socket(
    people: People, settings_for: SettingsFor, issue_token: Callable[..., str]
) -> None:
    clock = FakeClock()
    async with running(settings_for(), clock) as node:
        [ann] = await people(1)
        now = int(clock.seconds())
        async with opened(node) as client, opened(node) as careless:
            for socket in (client, careless):
                await socket.hello(issue_token(ann.id, exp=now + 300))
            clock.advance(250)
            assert (await client.push("auth.expiring"))["d"]["exp"] == now + 300
            await careless.push("auth.expiring")
            assert (await client.request("auth", data={"token": issue_token(ann.id, exp=now + 900)}))[
                "exp"
            ] == now + 900
            clock.advance(80)
            assert (await careless.until_closed()).code == 4401
            await client.request("ping")
            assert client.closed is None


async def test_token_of_somebody_else_does_not_renew(one: Node, people: People) -> None:
    ann, eve = await people(2)
    async with one.client(ann) as client:
        for token in (eve.token, "x", None):
            with pytest.raises(Refused):
                await client.request("auth", data={"token": token})


@pytest.mark.promise("C56")
@pytest.mark.parametrize("what", ["session", "user"])
async def test_ended_session_closes_its_sockets_on_all_processes(
    one: Node, two: Node, redis: Redis, people: People, issue_token: Callable[..., str], what: str
) -> None:
    ann, bob = await people(2)
    session_id = str(uuid4())
    conversation = await one.group(ann, bob)
    other_device = Person(ann.id, ann.token, ann.name)
    ann.token = issue_token(ann.id, sid=session_id)
    async with (
        one.client(ann, conversation) as here,
        two.client(ann, conversation) as there,
        one.client(bob, conversation) as bystander,
        one.client(other_device, conversation) as other,
    ):
        if what == "session":
            await revocation.publish_session(redis, session_id)
        else:
            await revocation.publish_user(redis, str(ann.id), int(asyncio.get_running_loop().time()) + 10**13)
        # After an outdated token a fresh one is welcome; after the end of the session there is none.
        code = 4504 if what == "session" else 4401
        assert [(await c.until_closed()).code for c in (here, there)] == [code, code]
        await bystander.request("ping")
        if what == "session":
            await other.request("ping")
        else:
            assert (await other.until_closed()).code == 4401


async def test_user_has_a_bounded_number_of_sockets(people: People, settings_for: SettingsFor) -> None:
    async with running(settings_for(sockets_per_user=2)) as node:
        ann, bob = await people(2)
        async with node.client(ann), node.client(ann), opened(node) as third:
            with pytest.raises(Closed) as closed:
                await third.hello(ann.token)
            assert closed.value.code == 4506
            async with node.client(bob):
                pass
        async with node.client(ann):
            pass


@pytest.mark.promise("C61")
async def test_sending_too_fast_is_refused_with_the_time_to_wait(people: People, settings_for: SettingsFor) -> None:
    limits = {"send_burst": 100, "conversation_send_rate": 0.01, "conversation_send_burst": 3}
    async with running(settings_for(**limits)) as node:
        ann, bob = await people(2)
        conversation = await node.group(ann, bob)
        async with node.client(ann, conversation) as client, node.client(bob) as other:
            for number in range(3):
                await client.send(conversation, str(number))
            with pytest.raises(Refused) as refused:
                await client.send(conversation, "too fast")
            assert refused.value.code == "rate_limited"
            assert 0 < refused.value.error["retry_ms"] <= 100_001
            answer = await node.call(ann, "POST", f"/conversations/{conversation}/messages", json={"content": "x"})
            assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
            assert 0 < int(answer.headers["retry-after"]) <= 100
            await other.send(conversation, "somebody else may")


@pytest.mark.promise("C61")
async def test_going_on_against_the_limit_closes_the_socket(people: People, settings_for: SettingsFor) -> None:
    async with running(settings_for(frame_rate=0.1, frame_burst=5)) as node:
        [ann] = await people(1)
        async with node.client(ann) as client:
            for _ in range(16):
                with contextlib.suppress(Closed):
                    await client.ask("ping")
            closed = await client.until_closed()
            assert closed.code == 4029
            assert (await client.push("goaway"))["d"] == {"code": 4029, "retry_ms": 10_000}


async def test_typing_reaches_followers_and_not_strangers(one: Node, two: Node, people: People) -> None:
    ann, bob, eve = await people(3)
    conversation = await one.group(ann, bob)
    stream = f"c:{conversation}"
    async with (
        one.client(ann, conversation) as client,
        two.client(bob, conversation) as other,
        one.client(eve) as third,
    ):
        await client.request("typing", stream, {"on": True})
        push = await other.push("typing", on=True)
        assert push["d"]["user_id"] == str(ann.id)
        assert "q" not in push
        with pytest.raises(Refused) as refused:
            await third.request("typing", stream, {"on": True})
        assert refused.value.code == "not_subscribed"


async def test_notification_of_notify_reaches_the_user(one: Node, two: Node, redis: Redis, people: People) -> None:
    ann, bob = await people(2)
    async with one.client(ann) as client, two.client(ann) as laptop, one.client(bob) as other:
        await redis.publish(f"{{u}}.n:{ann.id}", json.dumps({"title": "Hi\nthere"}, indent=1))
        await redis.publish(f"{{u}}.n:{ann.id}", b"not json")
        for socket in (client, laptop):
            push = await socket.push("notification.new")
            assert (push["s"], push["d"]) == ("n", {"title": "Hi\nthere"})
        await other.request("ping")
        assert other.pushes == []


@pytest.mark.promise("A48", "W12")
@pytest.mark.parametrize(
    ("says", "welcome"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({}, False),
    ],
)
async def test_cookie_opens_a_socket_for_a_page_of_ours_only(
    one: Node, people: People, says: dict[str, str], *, welcome: bool
) -> None:
    [ann] = await people(1)
    async with opened(one, headers={**says, "Cookie": f"theme=dark; __Host-at={ann.token}"}) as client:
        if welcome:
            assert (await client.hello())["user"] == str(ann.id)
            return
        with pytest.raises(Refused) as refused:
            await client.hello()
        assert refused.value.code == "not_authenticated"
        assert (await client.until_closed()).code == 4401
