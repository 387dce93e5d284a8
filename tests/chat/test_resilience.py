"""What is promised holds while processes die, Redis forgets, connections break and readers stop reading."""

import asyncio
import secrets
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from chat_service.domain import bus, hub, streams
from chat_service.settings import Settings
from deploy.local.servers import ValkeyServer
from libs.db import Database
from tests.chat.conftest import People, SettingsFor
from tests.chat.nodes import Node, assert_gap_free, complete, running, talk

pytestmark = pytest.mark.chaos


@pytest.mark.promise("C1", "C41")
async def test_thirty_percent_duplicates_from_two_processes_lose_and_double_nothing(
    left: Node, right: Node, people: People, database: Database
) -> None:
    crowd = await people(6)
    conversations = [await left.group(*crowd) for _ in range(3)]
    random = secrets.SystemRandom()
    sends = [(random.choice(conversations), random.choice(crowd), uuid4(), f"m{number}") for number in range(600)]
    sends += random.sample(sends, 180)
    random.shuffle(sends)

    async def send(job: tuple[object, ...]) -> tuple[str, UUID, str, int]:
        conversation, person, key, content = job
        node = random.choice((left, right))
        stored = await node.context.writer.send(
            UUID(str(conversation)),
            person.id,
            content=str(content),
            client_msg_id=key,  # type: ignore[attr-defined, arg-type]
        )
        return str(conversation), key, str(stored.id), stored.seq  # type: ignore[return-value]

    answers = await asyncio.gather(*map(send, sends))
    by_key: dict[UUID, set[tuple[str, int]]] = {}
    for _, key, message_id, seq in answers:
        by_key.setdefault(key, set()).add((message_id, seq))
    assert len(by_key) == 600
    assert all(len(stored) == 1 for stored in by_key.values())
    for conversation in conversations:
        await assert_gap_free(database, conversation, len({k for c, k, _, _ in answers if c == conversation}))


async def test_one_bad_draft_does_not_fail_the_others_of_its_batch(left: Node, people: People) -> None:
    [ann] = await people(1)
    conversation = UUID(await left.group(ann))
    writer = left.context.writer
    outcomes = await asyncio.gather(
        *(writer.send(conversation, ann.id, content="x\x00" if n == 7 else f"{n}") for n in range(20)),
        writer.send(uuid4(), ann.id, content="nowhere"),
        return_exceptions=True,
    )
    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Exception)] == [7, 20]
    assert sorted(o.seq for o in outcomes if not isinstance(o, BaseException)) == list(range(1, 20))


async def test_flush_of_redis_during_traffic_loses_no_event(
    left: Node, right: Node, people: People, own_redis: Redis
) -> None:
    ann, bob = await people(2)
    conversation = await left.group(ann, bob)
    async with right.client(bob, conversation) as client:
        talking = asyncio.create_task(talk(left, ann, conversation, 200))
        for _ in range(5):
            await asyncio.sleep(0.1)
            await own_redis.flushall()
        await talking
        await client.until(complete(conversation, 200))
        assert (client.gaps, client.duplicates) == ([], 0)


@pytest.mark.parametrize("kind", ["pubsub", "normal"])
async def test_killed_connections_to_redis_lose_no_event(
    left: Node, right: Node, people: People, own_redis: Redis, kind: str
) -> None:
    ann, bob = await people(2)
    conversation = await left.group(ann, bob)
    async with right.client(bob, conversation) as client:
        talking = asyncio.create_task(talk(left, ann, conversation, 200))
        for _ in range(4):
            await asyncio.sleep(0.1)
            await own_redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        await talking
        await left.say(ann, conversation, "last")
        await client.until(complete(conversation, 201), patience=30)
        assert (client.gaps, client.duplicates) == ([], 0)


async def test_restart_of_redis_loses_no_event(people: People, settings_for: SettingsFor, database: Database) -> None:
    async with ValkeyServer() as valkey:
        settings = settings_for(redis_url=valkey.url)
        async with running(settings) as here, running(settings) as there:
            ann, bob = await people(2)
            conversation = await here.group(ann, bob)
            async with here.client(ann, conversation) as near, there.client(bob, conversation) as far:
                await here.say(ann, conversation, "0")
                valkey.kill()
                await valkey.stop()
                for number in range(1, 20):
                    assert (await near.send(conversation, f"{number}"))["seq"] == number + 1
                await near.until(complete(conversation, 20))
                await valkey.start()
                await far.until(complete(conversation, 20), patience=30)
                assert (far.gaps, near.gaps) == ([], [])
            await assert_gap_free(database, conversation, 20)


@pytest.mark.promise("C45")
async def test_lost_publish_in_the_middle_is_healed_once_from_the_database(
    left: Node, right: Node, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await people(2)
    conversation = await left.group(ann, bob)
    reads = []
    async with right.client(bob, conversation) as first, right.client(bob, conversation) as second:
        stream = right.context.hub.streams[UUID(conversation)]
        read = stream.read

        async def counted(*arguments):  # type: ignore[no-untyped-def]
            reads.append(arguments)
            return await read(*arguments)

        stream.read = counted
        await left.say(ann, conversation, "heard")
        await first.push("message.new", content="heard")
        with monkeypatch.context() as silence:
            silence.setattr(left.context.bus, "send", lambda *_: None)
            await left.say(ann, conversation, "lost")
        await left.say(ann, conversation, "after")
        for client in (first, second):
            await client.push("message.new", content="after")
            assert [e["d"]["content"] for e in client.events(f"c:{conversation}")] == ["heard", "lost", "after"]
    assert len(reads) == 1


@pytest.mark.promise("C43")
async def test_lost_publish_before_a_silence_is_found_without_new_traffic(
    left: Node, own_settings: Settings, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await people(2)
    conversation = await left.group(ann, bob)
    monkeypatch.setattr(hub, "_AUDIT_SECONDS", 0.2)
    async with running(own_settings) as node, node.client(bob, conversation) as client:
        with monkeypatch.context() as silence:
            silence.setattr(left.context.bus, "send", lambda *_: None)
            await left.say(ann, conversation, "lost")
        await client.push("message.new", content="lost")


@pytest.mark.promise("C68")
async def test_subscription_that_dies_silently_is_noticed_and_rebuilt(
    left: Node, own_settings: Settings, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await people(2)
    conversation = await left.group(ann, bob)
    monkeypatch.setattr(bus, "_CANARY_SECONDS", 0.5)
    monkeypatch.setattr(bus, "_SILENT_SECONDS", 1.0)
    async with running(own_settings) as node, node.client(bob, conversation) as client:
        async with asyncio.timeout(20):
            while (dead := node.context.bus._in) is None:
                await asyncio.sleep(0.01)
        dead.on_reply = lambda _reply: None
        await left.say(ann, conversation, "unheard")
        statuses = set()
        async with asyncio.timeout(20):
            while node.context.bus._in is dead or not node.context.bus.healthy:
                statuses.add((await node.http.get("/health/ready")).status_code)
        assert 503 in statuses
        await client.push("message.new", content="unheard")
        assert client.gaps == []
        monkeypatch.undo()
        assert (await node.http.get("/health/ready")).status_code == 200


async def test_events_out_of_order_are_put_in_order(left: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = UUID(await left.group(ann, bob))
    async with left.client(bob, str(conversation)) as client:
        stream = left.context.hub.streams[conversation]
        lines = {n: b'{"s":"%b","q":%d,"t":"message.new","d":{}}' % (stream.key.encode(), n) for n in range(2, 8)}
        for first, last in ((4, 5), (7, 7), (2, 2), (2, 3), (5, 6), (7, 7)):
            stream.accept(streams.Run(first, last, [lines[n] for n in range(first, last + 1)]))
        await client.until(lambda c: len(c.events(stream.key)) == 6)
        assert [e["q"] for e in client.events(stream.key)] == [2, 3, 4, 5, 6, 7]
        assert (client.gaps, client.duplicates) == ([], 0)


async def test_broken_database_connections_are_replaced(left: Node, people: People, database: Database) -> None:
    [ann] = await people(1)
    conversation = await left.group(ann)
    async with left.client(ann, conversation) as client:
        for number in range(1, 6):
            async with database.transaction() as db:
                await db.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE application_name LIKE 'parley-chat-lane' AND datname = current_database()"
                    )
                )
            key = uuid4()
            answer = await client.send(conversation, f"{number}", client_msg_id=key)
            assert answer["seq"] == number
        await client.until(complete(conversation, 5))
    await assert_gap_free(database, conversation, 5)
