"""Files on their way out: to whom, and in which pieces."""

import hashlib
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from chat_service.domain import attachments
from libs.clock import Clock
from libs.db import Database
from tests.chat.conftest import People
from tests.chat.filing import PDF, get, picture, show, uploaded
from tests.chat.nodes import Node, Person

_BODY = PDF + bytes(range(256)) * 4


async def change(database: Database, sql: str, **values: object) -> None:
    async with database.transaction() as db:
        await db.execute(text(sql), values)


async def status(node: Node, person: Person, file: dict[str, str]) -> int:
    return (await get(node, person, file["url"])).status_code


@pytest.mark.promise("C28")
async def test_an_unused_file_is_its_owners_alone(one: Node, people: People) -> None:
    ann, bob = await people(2)
    await one.group(ann, bob)
    file = await uploaded(one, ann)
    assert [await status(one, person, file) for person in (ann, bob)] == [200, 404]


@pytest.mark.promise("C28")
async def test_a_shown_file_is_for_members(one: Node, two: Node, people: People, database: Database) -> None:
    ann, bob, carol = await people(3)
    conversation, _ = await one.group(ann, bob), await one.group(ann, carol)
    file = await uploaded(one, ann, picture())
    await show(one, ann, conversation, file)
    assert [await status(two, person, file) for person in (ann, bob, carol)] == [200, 200, 404]
    small = {"url": file["thumbnail_url"]}
    assert [await status(two, person, small) for person in (ann, bob, carol)] == [200, 200, 404]


@pytest.mark.promise("C28")
async def test_who_was_removed_gets_it_no_more_whatever_they_kept(
    one: Node, people: People, database: Database
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    file = await uploaded(one, bob)
    await show(one, bob, conversation, file)
    tag = (await get(one, bob, file["url"])).headers["etag"]
    await one.call(ann, "DELETE", f"/conversations/{conversation}/members/{bob.id}")
    for headers in ({}, {"If-None-Match": tag}, {"Range": "bytes=0-1"}):
        assert (await get(one, bob, file["url"], **headers)).status_code == 404
    assert await status(one, ann, file) == 200


@pytest.mark.promise("C28")
async def test_of_a_deleted_message_nobody_gets_it(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    files = [await uploaded(one, ann) for _ in range(2)]
    messages = [await show(one, ann, conversation, file) for file in files]
    await change(database, "UPDATE message SET deleted_at = now() WHERE id = :m", m=UUID(messages[0]))
    async with database.transaction() as db:
        await attachments.release(db, UUID(conversation), [UUID(messages[1])], now=Clock().now())
    assert [await status(one, person, file) for person in (ann, bob) for file in files] == [404] * 4


@pytest.mark.promise("C28")
async def test_newcomers_get_what_they_may_read(one: Node, people: People, database: Database) -> None:
    ann, bob, carol = await people(3)
    conversation = await one.group(ann, carol)
    old, new = await uploaded(one, ann), await uploaded(one, ann)
    await show(one, ann, conversation, old)
    await one.call(ann, "POST", f"/conversations/{conversation}/members", json={"user_ids": [str(bob.id)]})
    await show(one, ann, conversation, new)
    assert [await status(one, bob, file) for file in (old, new)] == [200, 200]
    await change(database, "UPDATE conversation SET history = 'since_joining' WHERE id = :c", c=UUID(conversation))
    assert [await status(one, bob, file) for file in (old, new)] == [404, 200]
    assert await status(one, carol, old) == 200


@pytest.mark.promise("C28")
async def test_what_one_has_hidden_for_oneself_is_hidden(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    file = await uploaded(one, ann)
    message = await show(one, ann, conversation, file)
    sql = "INSERT INTO hidden_message (user_id, conversation_id, message_id, hidden_at) VALUES (:u, :c, :m, now())"
    await change(database, sql, u=bob.id, c=UUID(conversation), m=UUID(message))
    assert [await status(one, person, file) for person in (ann, bob)] == [200, 404]


@pytest.mark.promise("C28")
async def test_of_a_deleted_conversation_nobody_gets_it(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    file = await uploaded(one, ann)
    await show(one, ann, conversation, file)
    await change(database, "UPDATE conversation SET deleted_at = now() WHERE id = :c", c=UUID(conversation))
    assert [await status(one, person, file) for person in (ann, bob)] == [404, 404]


async def test_what_does_not_exist(one: Node, people: People) -> None:
    [ann] = await people(1)
    for path in (f"/api/v1/attachments/{uuid4()}", f"/api/v1/attachments/{uuid4()}/thumbnail"):
        assert (await get(one, ann, path)).status_code == 404
        assert (await one.http.get(path)).status_code == 401
    assert (await get(one, ann, "/api/v1/attachments/..%2f..%2fetc%2fpasswd")).status_code in (404, 422)
    assert (await get(one, ann, "/api/v1/attachments/x")).status_code == 422


@pytest.mark.promise("C28")
async def test_a_copy_for_forwarding_outlives_the_original(one: Node, people: People, database: Database) -> None:
    ann, bob, carol = await people(3)
    here, there = await one.group(ann, bob), await one.group(bob, carol)
    files = [await uploaded(one, ann, b"%d" % number) for number in range(3)]
    message = await show(one, ann, here, *files)
    async with database.transaction() as db:
        where = (UUID(here), UUID(message))
        copies = await attachments.copy(db, bob.id, *where, quota=1000, now=Clock().now())
        rows = [await attachments.visible(one.context.lanes, ann.id, UUID(file["id"])) for file in files]
    shown = [{"id": str(each), "url": f"/api/v1/attachments/{each}"} for each in copies]
    assert len(rows) == len(shown) == 3
    await show(one, bob, there, *shown)
    async with database.transaction() as db:
        await attachments.release(db, UUID(here), [UUID(message)], now=Clock().now())
    assert [(await get(one, carol, each["url"])).content for each in shown] == [b"0", b"1", b"2"]
    assert [await status(one, ann, each) for each in shown] == [404] * 3
    assert [await status(one, bob, each) for each in files] == [404] * 3


async def test_forwarding_takes_room_once(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    message = await show(one, ann, conversation, await uploaded(one, ann, b"x" * 100))
    where = (UUID(conversation), UUID(message))
    for _ in range(3):
        async with database.transaction() as db:
            await attachments.copy(db, bob.id, *where, quota=150, now=Clock().now())
    assert (await one.call(bob, "GET", "/attachments")).json()["used_bytes"] == 100
    carol = (await people(1))[0]
    with pytest.raises(attachments.QuotaExceeded):
        async with database.transaction() as db:
            await attachments.copy(db, carol.id, *where, quota=99, now=Clock().now())
    assert (await one.call(carol, "GET", "/attachments")).json()["results"] == []


@pytest.fixture
async def file(one: Node, people: People) -> tuple[Person, str]:
    [ann] = await people(1)
    return ann, (await uploaded(one, ann, _BODY, "a.pdf"))["url"]


@pytest.mark.promise("C28")
@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=10-", 10, len(_BODY)),
        ("bytes=-10", len(_BODY) - 10, len(_BODY)),
        ("bytes=0-999999", 0, len(_BODY)),
        ("bytes=-999999", 0, len(_BODY)),
        (f"bytes={len(_BODY) - 1}-", len(_BODY) - 1, len(_BODY)),
        ("Bytes= 5-5", 5, 6),
    ],
)
async def test_a_range(one: Node, file: tuple[Person, str], asked: str, start: int, end: int) -> None:
    answer = await get(one, *file, Range=asked)
    assert (answer.status_code, answer.content) == (206, _BODY[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(_BODY)}"
    assert answer.headers["content-length"] == str(end - start)


@pytest.mark.parametrize(
    "asked",
    ["bytes=0-1,5-6", "bytes=9-5", "bytes=-", "bytes=a-b", "items=0-1", "bytes", "bytes=1", "bytes=" + "9" * 30 + "-"],
)
async def test_what_is_no_single_range_is_answered_with_all(one: Node, file: tuple[Person, str], asked: str) -> None:
    answer = await get(one, *file, Range=asked)
    assert (answer.status_code, answer.content) == (200, _BODY)
    assert "content-range" not in answer.headers


@pytest.mark.parametrize("asked", [f"bytes={len(_BODY)}-", "bytes=99999-100000", "bytes=-0"])
async def test_a_range_behind_the_end(one: Node, file: tuple[Person, str], asked: str) -> None:
    answer = await get(one, *file, Range=asked)
    assert (answer.status_code, answer.content) == (416, b"")
    assert answer.headers["content-range"] == f"bytes */{len(_BODY)}"


async def test_what_is_known_is_not_sent_again(one: Node, file: tuple[Person, str]) -> None:
    tag = (await get(one, *file)).headers["etag"]
    for known in (tag, f'"x", W/{tag}', "*"):
        answer = await get(one, *file, **{"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    assert (await get(one, *file, **{"If-None-Match": '"x"'})).status_code == 200


async def test_a_range_of_another_version_is_answered_with_all(one: Node, file: tuple[Person, str]) -> None:
    tag = (await get(one, *file)).headers["etag"]
    for version, expected in ((tag, 206), ('"x"', 200), ("Sat, 21 Nov 2026 00:00:00 GMT", 200), (f"W/{tag}", 200)):
        answer = await get(one, *file, **{"If-Range": version, "Range": "bytes=0-0"})
        assert answer.status_code == expected


async def test_head_says_the_same_without_a_body(one: Node, file: tuple[Person, str]) -> None:
    ann, url = file
    whole, head = await get(one, ann, url), await one.http.head(url, headers=ann.headers)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type", "etag", "accept-ranges", "content-disposition"):
        assert head.headers[name] == whole.headers[name]
    part = await one.http.head(url, headers={**ann.headers, "Range": "bytes=0-1"})
    assert (part.status_code, part.headers["content-length"]) == (206, "2")
    assert (await one.http.head(f"{url}/thumbnail", headers=ann.headers)).status_code == 404


@pytest.mark.promise("C28")
async def test_nothing_of_a_file_runs_in_a_browser(one: Node, people: People) -> None:
    [ann] = await people(1)
    for content, how in ((b"<svg onload=alert(1)>", "attachment"), (PDF, "attachment"), (picture(), "inline")):
        file = await uploaded(one, ann, content, 'a"b.html')
        headers = (await get(one, ann, file["url"])).headers
        assert headers["content-disposition"].startswith(f"{how}; ")
        assert headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in headers["content-security-policy"]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "private, no-cache"
        assert "html" not in headers["content-type"]
        assert "svg" not in headers["content-type"]


async def test_names_reach_the_browser_whole(one: Node, people: People) -> None:
    [ann] = await people(1)
    file = await uploaded(one, ann, b"x", "Grüße; 100% \u4f60.txt")
    said = (await get(one, ann, file["url"])).headers["content-disposition"]
    assert said == (
        "attachment; filename=\"Gr__e_ 100_ _.txt\"; filename*=UTF-8''Gr%C3%BC%C3%9Fe%3B%20100%25%20%E4%BD%A0.txt"
    )


async def test_a_large_file_comes_in_pieces(one: Node, people: People) -> None:
    [ann] = await people(1)
    content = PDF.ljust((3 << 20) + 77, b"z")
    file = await uploaded(one, ann, content)
    digest, size = hashlib.sha256(), 0
    async with one.http.stream("GET", file["url"], headers=ann.headers) as answer:
        async for piece in answer.aiter_bytes():
            digest.update(piece)
            size += len(piece)
    assert (size, digest.digest()) == (len(content), hashlib.sha256(content).digest())
    part = await get(one, ann, file["url"], Range=f"bytes={(1 << 20) - 1}-{1 << 21}")
    assert part.content == content[(1 << 20) - 1 : (1 << 21) + 1]


async def test_a_file_that_was_taken_away_is_shown_by_no_message(one: Node, people: People) -> None:
    ann, bob = await people(2)
    file = await uploaded(one, ann)
    await one.call(ann, "DELETE", f"/attachments/{file['id']}")
    body = {"content": "Look", "attachments": [file["id"]]}
    path = f"/conversations/{await one.group(ann, bob)}/messages"
    assert (await one.call(ann, "POST", path, json=body)).status_code == 422
