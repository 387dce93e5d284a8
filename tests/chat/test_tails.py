"""What a process keeps of its streams: enough for those who come back, and no word that was taken back."""

import asyncio
from collections import Counter
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from chat_service.domain import frames, tails
from chat_service.domain.hub import Hub
from chat_service.domain.log import Log
from chat_service.domain.streams import Run
from chat_service.domain.tails import Tail, Tails
from libs.db import Database
from libs.lanes import Lanes
from parley_client.sockets import Position
from tests.chat.conftest import People
from tests.chat.nodes import Node, shared


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> "Counter[str]":
    """Reads of PostgreSQL by sockets, by what is read."""
    counted: Counter[str] = Counter()
    for name in ("tops", "after", "visible_to"):

        def count(self: Log, *given: object, _name: str = name, _real: object = getattr(Log, name)) -> object:
            counted[_name] += 1
            return _real(self, *given)  # type: ignore[operator]

        monkeypatch.setattr(Log, name, count)

    async def nothing(_: Hub) -> None:
        """Each process compares its streams with PostgreSQL every ten seconds, and this may be that moment."""

    monkeypatch.setattr(Hub, "audit", nothing)
    return counted


@pytest.mark.promise("C45", "C48")
async def test_short_absence_costs_one_question_and_no_read(
    one: Node, people: People, statements: "Counter[str]"
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    stream = f"c:{conversation}"
    async with one.client(ann, conversation) as steady:
        said = [await one.say(ann, conversation, f"{n}") for n in range(10)]
        await steady.push("message.new", content="9")
        statements.clear()
        async with one.client(bob, resume={stream: (1, 3)}) as client:
            await client.until(lambda c: len(c.events(stream)) == 8)
            assert [e["d"] for e in client.events(stream)] == [shared(each) for each in said[2:]]
            assert client.welcome["streams"][stream]["n"] == 8
    assert statements == {"visible_to": 1}


@pytest.mark.promise("C45", "C48")
async def test_all_who_come_back_at_once_share_one_read(
    one: Node, two: Node, people: People, statements: "Counter[str]"
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    stream = f"c:{conversation}"
    for number in range(9):
        await one.say(ann, conversation, f"{number}")

    async def come_back() -> list[str]:
        async with two.client(bob, resume={stream: (1, 1)}) as client:
            await client.until(lambda c: len(c.events(stream)) == 9)
            return [e["d"]["content"] for e in client.events(stream)]

    statements.clear()
    heard = await asyncio.gather(*(come_back() for _ in range(20)))
    assert heard == [[f"{number}" for number in range(9)]] * 20
    assert (statements["after"], statements["tops"]) == (1, 1)


@pytest.mark.promise("C48")
async def test_return_of_many_costs_a_tenth_of_reading_everything_anew(
    one: Node, two: Node, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, *crowd = await people(21)
    conversations = [await one.group(ann, *crowd) for _ in range(20)]
    for conversation in conversations:
        await one.say(ann, conversation, "missed")
    positions: dict[str, Position | None] = {f"c:{c}": (1, 1) for c in conversations}
    asked = 0
    fetch = Lanes.fetch

    async def counted(self: Lanes, *given: object) -> object:
        nonlocal asked
        asked += 1
        return await fetch(self, *given)  # type: ignore[arg-type]

    async def come_back(number: int) -> None:
        async with two.client(crowd[number % 20], resume=positions) as client:
            await client.until(lambda c: len([p for p in c.pushes if "q" in p]) == 20)
            assert client.gaps == []

    monkeypatch.setattr(Lanes, "fetch", counted)
    await asyncio.gather(*map(come_back, range(60)))
    # Anew: the list, then one page a conversation.
    assert asked <= 60 * 21 // 10


async def replay(node: Node, person: object, stream: str, after: int) -> str:
    """Everything that somebody is told who comes back, as one text."""
    async with node.client(person, resume={stream: (1, after)}) as client:  # type: ignore[arg-type]
        n = client.welcome["streams"][stream]["n"]
        await client.until(lambda c: len(c.events(stream)) >= n)
        return str(client.pushes)


def change(node: Node, conversation: str, number: int, kind: str, data: dict[str, object]) -> None:
    """What passes through the stream when a message changes."""
    line = frames.event(UUID(conversation), number, kind, data)
    node.context.hub.streams[UUID(conversation)].accept(Run(number, number, [line]))


@pytest.mark.promise("C45")
@pytest.mark.parametrize("kind", ["message.edited", "message.deleted", "messages.erased"])
async def test_words_that_were_taken_back_are_not_told_again(
    one: Node, people: People, database: Database, kind: str
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with one.client(ann, conversation) as steady:
        secret = await one.say(ann, conversation, "secret")
        await one.say(bob, conversation, "a reply", reply_to=secret["id"])
        await steady.push("message.new", content="a reply")
        assert "secret" in await replay(one, bob, f"c:{conversation}", 1)
        changed = {**secret, "content": "", "version": 2} if kind != "messages.erased" else {"sender_id": str(ann.id)}
        async with database.transaction() as db:
            await db.execute(text("UPDATE message SET content = '' WHERE id = :id"), {"id": secret["id"]})
            await db.execute(text("UPDATE conversation SET event_seq = 4 WHERE id = :id"), {"id": conversation})
            await db.execute(
                text(
                    "INSERT INTO event (conversation_id, seq, type, message_id, actor_id, payload, created_at)"
                    " VALUES (:c, 4, :kind, :m, :a, CAST(:p AS jsonb), now())"
                ),
                {
                    "c": conversation,
                    "kind": kind,
                    "m": secret["id"],
                    "a": ann.id,
                    "p": frames.dump(changed).decode() if kind == "messages.erased" else None,
                },
            )
        # Before this process has heard of it, and after.
        assert "secret" not in await replay(one, bob, f"c:{conversation}", 1)
        change(one, conversation, 4, kind, changed)
        assert "secret" not in await replay(one, bob, f"c:{conversation}", 1)


@pytest.mark.promise("C45")
async def test_changed_message_reaches_those_who_come_back_from_memory_only_as_it_is(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with one.client(ann, conversation) as steady:
        first = await one.say(ann, conversation, "old words")
        await one.say(ann, conversation, "other")
        await steady.push("message.new", content="other")
        change(one, conversation, 4, "message.edited", {**first, "content": "new words"})
        tail = one.context.hub.streams[UUID(conversation)].tail
        assert (tail.first, tail.next) == (3, 5)
        assert tail.packets(1, 4) is None
        assert b"old words" not in b"".join(tail.packets(2, 4) or ())


@pytest.mark.promise("C42")
async def test_client_that_is_ahead_of_a_process_is_not_told_that_it_missed_too_much(
    one: Node, two: Node, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    stream = f"c:{conversation}"
    async with two.client(ann, conversation):
        with monkeypatch.context() as silence:
            silence.setattr(one.context.bus, "send", lambda *_: None)
            await one.say(ann, conversation, "heard elsewhere")
        async with two.client(bob, resume={stream: (1, 2)}) as client:
            assert client.welcome["streams"][stream] == {
                "epoch": 1, "top": 2, "recovered": True, "limited": False, "n": 0,
            }  # fmt: skip
            await two.say(ann, conversation, "next")
            await client.push("message.new", content="next")
            assert [e["q"] for e in client.events(stream)] == [3]
            assert client.gaps == []


def line(number: int, size: int = 100, kind: str = "message.new", name: object = "") -> bytes:
    data = {"id": str(name or uuid4()), "content": "x" * size}
    return frames.event(UUID(int=1), number, kind, data)


def test_tail_is_bounded_in_lines_and_bytes() -> None:
    everything = Tails()
    tail = Tail(everything)
    tail.start(1)
    tail.append(1, [line(n) for n in range(1, 251)])
    assert tail.next == 251
    assert tails.MOST_LINES // 2 < tail.next - tail.first <= tails.MOST_LINES
    tail.append(251, [line(n, 20_000) for n in range(251, 261)])
    assert tail.next == 261
    assert tails.MOST_BYTES // 2 < everything.bytes <= tails.MOST_BYTES
    tail.clear()
    assert everything.bytes == 0


def test_tails_used_longest_ago_go_first() -> None:
    everything = Tails(10_000)
    first, second, third = (Tail(everything) for _ in range(3))
    for tail in (first, second):
        tail.start(1)
        tail.append(1, [line(1, 4_000)])
    assert first.packets(0, 1)
    third.start(1)
    third.append(1, [line(1, 4_000)])
    assert (bool(first.packets(0, 1)), second.packets(0, 1), bool(third.packets(0, 1))) == (True, None, True)
    assert everything.bytes <= 10_000


def test_tail_with_a_hole_begins_anew() -> None:
    tail = Tail(Tails())
    tail.start(1)
    tail.append(1, [line(1)])
    tail.append(5, [line(5)])
    assert (tail.first, tail.packets(0, 5), len(tail.packets(4, 5) or ())) == (5, None, 1)


def test_lines_that_were_read_before_words_changed_are_not_kept() -> None:
    name = uuid4()
    tail = Tail(Tails())
    tail.start(3)
    tail.append(3, [line(3, kind="message.deleted", name=name)])
    tail.fill(1, [line(1, name=name), line(2)])
    assert tail.first == 3
    quiet = Tail(Tails())
    quiet.start(3)
    quiet.append(3, [line(3)])
    quiet.fill(1, [line(1, name=name), line(2), line(3)])
    assert (quiet.first, quiet.next) == (1, 4)
