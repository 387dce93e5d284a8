"""How far somebody has read."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import receipt_feed
from libs.db import Database
from parley_client import ChatClient, Refused
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person


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
        assert answer == {"last_read_seq": 1, "unread_count": 0, "mention_count": 0}
        push = await laptop.push("read", conversation_id=conversation)
        assert (push["s"], push["d"]["seq"], push["d"]["unread_count"]) == (f"u:{bob.id}", 1, 0)


@pytest.mark.parametrize("seq", [-1, "1", True, 1.5, None, 1 << 62])
async def test_impossible_mark_is_refused(one: Node, people: People, seq: object) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    async with one.client(ann) as client:
        with pytest.raises(Refused) as refused:
            await client.request("read", f"c:{conversation}", {"seq": seq})
    assert refused.value.code == "validation_error"


async def marks(node: Node, asking: Person, conversation: str, of: Person) -> tuple[int, int]:
    """How far somebody has got the messages and has read them, as another one sees it."""
    body = (await node.call(asking, "GET", f"/conversations/{conversation}/members")).json()
    [member] = [m for m in body["results"] if m["user"]["id"] == str(of.id)]
    return member["delivered_seq"], member["read_seq"]


async def talked(node: Node, people: People, count: int, messages: int) -> tuple[str, list[Person], list[str]]:
    """A group in which the first one has said so much."""
    crowd = await people(count)
    conversation = await node.group(crowd[0], *crowd[1:])
    said = [(await node.say(crowd[0], conversation, str(n)))["id"] for n in range(messages)]
    return conversation, crowd, said


async def mark(node: Node, person: Person, conversation: str, kind: str, seq: int, **more: object) -> None:
    answer = await node.call(person, "POST", f"/conversations/{conversation}/{kind}", json={"seq": seq, **more})
    assert answer.status_code in (200, 204), answer.text


@pytest.mark.promise("C30")
async def test_marks_only_move_forward_and_reading_means_having_got_it(one: Node, two: Node, people: People) -> None:
    conversation, [ann, bob], _ = await talked(one, people, 2, 5)
    seen = [await marks(one, ann, conversation, bob)]
    for kind, seq in (("delivered", 2), ("read", 4), ("delivered", 1), ("read", 3), ("delivered", 10**12)):
        await mark(two, bob, conversation, kind, seq)
        seen.append(await marks(one, ann, conversation, bob))
    assert seen == [(0, 0), (2, 0), (4, 4), (4, 4), (4, 4), (5, 4)]


@pytest.mark.promise("C30")
async def test_racing_receipts_end_at_the_highest(one: Node, two: Node, people: People, database: Database) -> None:
    conversation, [ann, bob], _ = await talked(one, people, 2, 20)
    nodes = [one, two] * 10
    await asyncio.gather(
        *(mark(node, bob, conversation, "read", n + 1) for n, node in enumerate(nodes)),
        *(mark(node, bob, conversation, "delivered", 20 - n) for n, node in enumerate(nodes)),
        *(mark(node, bob, conversation, "unread", n + 1) for n, node in enumerate(nodes)),
    )
    assert await marks(one, ann, conversation, bob) == (20, 20)
    query = text(
        "SELECT 0 <= shown_read_seq AND shown_read_seq <= last_delivered_seq AND last_delivered_seq <= 20"
        " AND last_read_seq <= last_delivered_seq FROM member WHERE conversation_id = :c"
    )
    async with database.transaction() as db:
        assert (await db.scalars(query, {"c": conversation})).all() == [True, True]


@pytest.mark.promise("C30")
async def test_receipts_reach_the_others_through_any_process(one: Node, two: Node, people: People) -> None:
    conversation, [ann, bob, carol], _ = await talked(one, people, 3, 3)
    async with one.client(ann, conversation) as sender, two.client(bob, conversation) as reader:
        await reader.request("read", f"c:{conversation}", {"seq": 2})
        await mark(one, carol, conversation, "delivered", 3)
        members = await told(sender, bob, carol)
    assert members == {str(bob.id): {"delivered": 2, "read": 2}, str(carol.id): {"delivered": 3, "read": 0}}


async def told(client: ChatClient, *about: Person) -> dict[str, Any]:
    """What a socket was told of members, until all of these were named."""
    members: dict[str, Any] = {}

    def complete(c: ChatClient) -> bool:
        for push in c.pushes:
            if push["t"] == "receipt":
                members.update(push["d"].get("members", {}))
        return all(str(person.id) in members for person in about)

    await client.until(complete)
    return members


async def test_what_a_device_got_is_written_soon(one: Node, people: People) -> None:
    conversation, [ann, bob], _ = await talked(one, people, 2, 3)
    async with one.client(ann, conversation) as sender, one.client(bob, conversation) as phone:
        for seq in (1, 3, 2):
            assert await phone.request("delivered", f"c:{conversation}", {"seq": seq}) == {}
        # Where a second ends in between, the first mark is told before the highest.
        highest = {str(bob.id): {"delivered": 3, "read": 0}}
        await sender.until(lambda c: any(p["d"].get("members") == highest for p in c.pushes))
    assert await marks(one, ann, conversation, bob) == (3, 0)


@pytest.mark.promise("C33")
async def test_private_read_clears_the_badge_and_tells_nobody(one: Node, two: Node, people: People) -> None:
    conversation, [ann, bob], [message] = await talked(one, people, 2, 1)
    async with one.client(ann, conversation) as sender, two.client(bob, conversation) as reader:
        answer = await reader.request("read", f"c:{conversation}", {"seq": 1, "private": True})
        assert answer["unread_count"] == 0
        assert (await told(sender, bob))[str(bob.id)] == {"delivered": 1, "read": 0}
        assert (await one.call(ann, "GET", f"/messages/{message}/receipts")).json()["read_count"] == 0
        await reader.request("read", f"c:{conversation}", {"seq": 1})
        await sender.until(lambda c: any(p["d"].get("members") == shown(bob, 1) for p in c.pushes))


def shown(person: Person, seq: int) -> dict[str, Any]:
    return {str(person.id): {"delivered": seq, "read": seq}}


@pytest.mark.promise("C33")
async def test_who_gives_no_receipts_is_never_shown_as_reader(one: Node, people: People, database: Database) -> None:
    conversation, [ann, bob], [message] = await talked(one, people, 2, 1)
    async with database.transaction() as db:
        await db.execute(
            text("""UPDATE profile SET privacy = '{"read_receipts": false}' WHERE user_id = :u"""), {"u": bob.id}
        )
    await mark(one, bob, conversation, "read", 1)
    assert (await one.call(bob, "GET", f"/conversations/{conversation}")).json()["unread_count"] == 0
    assert await marks(one, ann, conversation, bob) == (1, 0)
    assert (await one.call(ann, "GET", f"/messages/{message}/receipts")).json()["readers"] == []


@pytest.mark.promise("C33")
async def test_blocked_person_gets_no_receipts(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob, kind="direct")
    await one.say(ann, conversation, "hello")
    async with database.transaction() as db:
        await db.execute(text("UPDATE member SET barred = true WHERE user_id = :u"), {"u": ann.id})
    async with one.client(ann, conversation) as client:
        await mark(one, bob, conversation, "read", 1)
        await one.context.receipts.flush()
        await client.request("ping")
        assert not [p for p in client.pushes if p["t"] == "receipt"]
    assert (await marks(one, ann, conversation, bob))[1] == 0


@pytest.mark.promise("C36")
async def test_marked_as_unread_on_all_devices_and_for_nobody_else(one: Node, two: Node, people: People) -> None:
    conversation, [ann, bob], _ = await talked(one, people, 2, 5)
    await mark(one, bob, conversation, "read", 5)
    async with one.client(bob) as phone, two.client(bob, conversation) as laptop:
        answer = await laptop.request("unread", f"c:{conversation}", {"seq": 4})
        assert (answer["last_read_seq"], answer["unread_count"]) == (3, 2)
        push = await phone.push("read", conversation_id=conversation)
        assert (push["d"]["seq"], push["d"]["unread_count"]) == (3, 2)
    assert (await two.call(bob, "GET", f"/conversations/{conversation}")).json()["unread_count"] == 2
    assert await marks(one, ann, conversation, bob) == (5, 5)


@pytest.mark.promise("C36")
async def test_marking_as_unread_reads_nothing(one: Node, people: People) -> None:
    conversation, [_, bob], _ = await talked(one, people, 2, 5)
    await mark(one, bob, conversation, "read", 1)
    await mark(one, bob, conversation, "unread", 4)
    assert (await one.call(bob, "GET", f"/conversations/{conversation}")).json()["unread_count"] == 4


@pytest.mark.promise("C31")
async def test_who_has_read_a_message(one: Node, people: People) -> None:
    conversation, [ann, bob, carol, dave], [first, second] = await talked(one, people, 4, 2)
    await mark(one, bob, conversation, "read", 2)
    await mark(one, carol, conversation, "read", 1)
    await mark(one, dave, conversation, "delivered", 2)
    await mark(one, ann, conversation, "read", 2)

    async def ask(message: str) -> tuple[object, ...]:
        body = (await one.call(ann, "GET", f"/messages/{message}/receipts")).json()
        assert len(body["readers"]) == body["read_count"]
        return body["total"], body["delivered_count"], {reader["id"] for reader in body["readers"]}

    assert await ask(first) == (3, 3, {str(bob.id), str(carol.id)})
    assert await ask(second) == (3, 2, {str(bob.id)})


@pytest.mark.promise("C31")
async def test_a_message_is_read_when_all_have_read_it(one: Node, people: People) -> None:
    conversation, [ann, bob, carol], [first, second] = await talked(one, people, 3, 2)

    async def status() -> tuple[object, ...]:
        shown = (await one.call(ann, "GET", f"/conversations/{conversation}")).json()
        each = [(await one.call(ann, "GET", f"/messages/{m}/receipts")).json()["status"] for m in (first, second)]
        return shown["delivered_to_all_seq"], shown["read_by_all_seq"], *each

    seen = [await status()]
    for person, kind, seq in ((bob, "read", 2), (carol, "delivered", 1), (carol, "read", 1), (carol, "read", 2)):
        await mark(one, person, conversation, kind, seq)
        seen.append(await status())
    assert seen == [
        (0, 0, "sent", "sent"),
        (0, 0, "sent", "sent"),
        (1, 0, "delivered", "sent"),
        (1, 1, "read", "sent"),
        (2, 2, "read", "read"),
    ]


@pytest.mark.promise("C31")
async def test_who_came_later_is_no_reader(one: Node, people: People) -> None:
    conversation, [ann, bob], [message] = await talked(one, people, 2, 1)
    [late] = await people(1)
    await one.call(ann, "POST", f"/conversations/{conversation}/members", json={"user_ids": [str(late.id)]})
    body = (await one.call(bob, "GET", f"/messages/{message}/receipts")).json()
    assert (body["total"], body["read_count"]) == (1, 0)


@pytest.mark.promise("C32")
async def test_in_a_crowd_readers_are_counted_once_a_second(
    one: Node, two: Node, people: People, database: Database
) -> None:
    conversation, [ann, bob], [message] = await talked(one, people, 2, 1)
    async with database.transaction() as db:
        await crowd(db, conversation, 5_000)
    async with two.client(ann, conversation) as sender:
        for _ in range(5):
            await mark(one, bob, conversation, "read", 1)
        push = await sender.push("receipt")
    assert push["d"] == {"counts": {"1": 4_001}}
    readers, path = set[str](), f"/messages/{message}/receipts?limit=100"
    body = (await one.call(ann, "GET", path)).json()
    assert (body["total"], body["read_count"], body["delivered_count"]) == (5_001, 4_001, 4_501)
    for _ in range(3):
        readers |= {reader["id"] for reader in body["readers"]}
        body = (await one.call(ann, "GET", body["next"].removeprefix("/api/v1"))).json()
    assert len(readers) == 300


async def crowd(db: AsyncSession, conversation: str, count: int) -> None:
    """Members of whom four fifths have read the first message, and half of the others have got it."""
    await db.execute(
        text(
            "INSERT INTO member (conversation_id, user_id, role, joined_seq, last_read_seq, shown_read_seq,"
            " last_delivered_seq, joined_at)"
            " SELECT :c, gen_random_uuid(), 'member', 0, r, r, greatest(r, (n % 2)), now() FROM ("
            " SELECT n, CASE WHEN n % 10 < 8 THEN 1 ELSE 0 END AS r FROM generate_series(1, :n) AS s(n)) AS x"
        ),
        {"c": conversation, "n": count},
    )
    await db.execute(
        text("UPDATE conversation SET member_count = member_count + :n WHERE id = :c"), {"n": count, "c": conversation}
    )


@pytest.mark.promise("C32")
async def test_counts_pushed_are_those_that_can_be_asked_for(one: Node, people: People, database: Database) -> None:
    conversation, [ann, bob, carol, dave], said = await talked(one, people, 4, 4)
    async with database.transaction() as db:
        await crowd(db, conversation, 100)
    said += [(await one.say(bob, conversation, str(n)))["id"] for n in range(3)]
    [late] = await people(1)
    await one.call(ann, "POST", f"/conversations/{conversation}/members", json={"user_ids": [str(late.id)]})
    said.append((await one.say(ann, conversation, "last"))["id"])
    async with one.client(ann, conversation) as sender:
        for person, seq in ((ann, 7), (bob, 8), (carol, 6), (dave, 3), (late, 8)):
            await mark(one, person, conversation, "read", seq)
        bodies = [(await one.call(ann, "GET", f"/messages/{message}/receipts")).json() for message in said[-5:]]
        counts = {str(body["seq"]): body["read_count"] for body in bodies}
        await sender.until(lambda c: any(p["d"].get("counts") == counts for p in c.pushes))
    assert list(counts.values()) == [2, 2, 2, 1, 2]


@pytest.mark.promise("C32")
async def test_many_readers_are_one_push_a_second(one: Node, two: Node, people: People) -> None:
    conversation, [ann, *readers], _ = await talked(one, people, 30, 1)
    loop = asyncio.get_running_loop()
    async with one.client(ann, conversation) as sender:
        began = loop.time()
        await asyncio.gather(
            *(mark(two if n % 2 else one, reader, conversation, "read", 1) for n, reader in enumerate(readers))
        )
        members = await told(sender, *readers)
        pushes = [p for p in sender.pushes if p["t"] == "receipt"]
        seconds = (loop.time() - began) / receipt_feed.SECONDS
    assert members == {str(reader.id): {"delivered": 1, "read": 1} for reader in readers}
    assert len(pushes) <= seconds + 2


@pytest.mark.parametrize("kind", ["read", "unread", "delivered"])
async def test_strangers_hear_of_no_conversation(one: Node, people: People, kind: str) -> None:
    conversation, _, [message] = await talked(one, people, 2, 1)
    [eve] = await people(1)
    answer = await one.call(eve, "POST", f"/conversations/{conversation}/{kind}", json={"seq": 1})
    assert answer.status_code == 404
    assert (await one.call(eve, "GET", f"/messages/{message}/receipts")).status_code == 404
    async with one.client(eve) as client:
        with pytest.raises(Refused) as refused:
            await client.request(kind, f"c:{conversation}", {"seq": 1})
    assert refused.value.code == ("not_subscribed" if kind == "delivered" else "not_found")


async def test_total_counts_what_is_not_muted(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    rooms = [await one.group(ann, bob) for _ in range(3)]
    for room, count in zip(rooms, (2, 3, 4), strict=True):
        for number in range(count):
            await one.say(ann, room, str(number))
    await mark(one, bob, rooms[1], "read", 3)
    async with database.transaction() as db:
        mute = text("UPDATE member SET muted_until = now() + interval '1 day' WHERE conversation_id = :c")
        await db.execute(mute, {"c": rooms[2]})
        name = text("INSERT INTO mention (user_id, conversation_id, seq) VALUES (:u, :c, :s)")
        await db.execute(name, [{"u": bob.id, "c": rooms[2], "s": 4}, {"u": bob.id, "c": rooms[1], "s": 2}])
    total = (await one.call(bob, "GET", "/conversations/unread")).json()
    assert total == {"total_unread": 2, "conversations_with_unread": 1, "mentions": 1, "muted_unread": 4}
