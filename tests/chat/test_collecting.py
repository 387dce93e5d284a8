"""What nobody can have any more is taken away, whatever was killed in between."""

import asyncio
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from chat_service.domain import attachments, erasure
from chat_service.domain.collecting import Collector
from chat_service.domain.stores import Store
from chat_service.errors import StoreUnavailable
from chat_service.settings import Settings
from libs.clock import Clock
from libs.db import Database
from libs.testing.clock import FakeClock
from tests.chat.conftest import People, SettingsFor
from tests.chat.filing import PDF, get, objects, picture, show, upload, uploaded
from tests.chat.nodes import Node, Process, environment, process, running
from tests.chat.test_erasure import erase

_MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
def settings(settings_for: SettingsFor, folder: Path) -> Settings:
    return settings_for(attachment_store=str(folder))


@pytest.fixture
async def node(settings: Settings) -> AsyncIterator[Node]:
    """With a store of its own, to be looked at as a whole."""
    async with running(settings) as node:
        yield node


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def collector(database: Database, folder: Path, clock: FakeClock) -> Collector:
    return Collector(database, Store(str(folder)), clock, 24)


def lying(folder: Path) -> dict[str, int]:
    """Everything in the folder with its size, unfinished or not."""
    return {path.name: path.stat().st_size for path in folder.rglob("*") if path.is_file()}


async def used(node: Node, person: Any) -> int:
    return int((await node.call(person, "GET", "/attachments")).json()["used_bytes"])


@pytest.mark.promise("C27")
async def test_what_no_message_shows_in_time(
    node: Node, people: People, collector: Collector, clock: FakeClock
) -> None:
    ann, bob = await people(2)
    shown, unused = await uploaded(node, ann, picture()), await uploaded(node, ann, picture())
    await show(node, ann, await node.group(ann, bob), shown)
    clock.advance(23 * 3600)
    await collector.step()
    assert len(await objects(node)) == 4
    clock.advance(2 * 3600)
    await collector.step()
    assert len(await objects(node)) == 2
    assert (await get(node, ann, unused["url"])).status_code == 404
    assert (await get(node, bob, shown["url"])).status_code == 200
    assert await used(node, ann) == shown["size"]


@pytest.mark.promise("C27")
async def test_files_go_with_the_last_message_that_shows_them(
    node: Node, people: People, collector: Collector, database: Database
) -> None:
    ann, bob = await people(2)
    conversation = await node.group(ann, bob)
    file = await uploaded(node, ann, picture())
    first = await show(node, ann, conversation, file)
    async with database.transaction() as db:
        where = (UUID(conversation), UUID(first))
        [copy] = await attachments.copy(db, bob.id, *where, quota=1 << 30, now=Clock().now())
    second = await show(node, bob, conversation, {"id": str(copy), "url": f"/api/v1/attachments/{copy}"})
    for message, left in ((first, 2), (second, 0)):
        async with database.transaction() as db:
            await attachments.release(db, UUID(conversation), [UUID(message)], now=Clock().now())
        await collector.step()
        assert len(await objects(node)) == left
    assert await used(node, ann) == await used(node, bob) == 0


async def test_two_workers_at_once(node: Node, people: People, collector: Collector, database: Database) -> None:
    [ann] = await people(1)
    for _ in range(30):
        await uploaded(node, ann)
    async with database.transaction() as db:
        await attachments.release_of(db, ann.id, now=Clock().now())
    await asyncio.gather(*(collector.step() for _ in range(3)))
    assert (await objects(node), await used(node, ann)) == (set(), 0)


@pytest.mark.promise("C27")
async def test_a_worker_that_was_killed_between_bytes_and_row(node: Node, people: People, collector: Collector) -> None:
    [ann] = await people(1)
    file = await uploaded(node, ann)
    await node.call(ann, "DELETE", f"/attachments/{file['id']}")
    await node.context.files.store.delete(list(await objects(node)))
    await collector.step()
    assert await used(node, ann) == 0


async def test_while_the_store_is_away_rows_wait(
    node: Node, people: People, collector: Collector, database: Database
) -> None:
    [ann] = await people(1)
    file = await uploaded(node, ann)
    await node.call(ann, "DELETE", f"/attachments/{file['id']}")
    away = Collector(database, Store("/dev/null/nowhere"), Clock(), 24)
    with pytest.raises(StoreUnavailable):
        await away.step()
    assert (len(await objects(node)), await used(node, ann)) == (1, 5)
    await collector.step()
    assert (len(await objects(node)), await used(node, ann)) == (0, 0)


@pytest.mark.chaos
@pytest.mark.promise("C27")
async def test_a_process_that_was_killed_between_bytes_and_row(
    node: Node, settings: Settings, people: People, collector: Collector, clock: FakeClock, database: Database
) -> None:
    [ann] = await people(1)
    async with process(settings) as (killed, program), database.transaction() as db:
        # The upload waits here, with its bytes in the store and no row yet.
        await db.execute(text(attachments._LOCK.format(":user")), {"user": str(ann.id)})
        waiting = asyncio.create_task(upload(killed, ann, picture()))
        async with asyncio.timeout(30):
            while len(await objects(node)) < 2:
                await asyncio.sleep(0.02)
        await program.end(signal.SIGKILL)
        await asyncio.gather(waiting, return_exceptions=True)
    assert (len(await objects(node)), await used(node, ann)) == (2, 0)
    await collector.sweep()
    assert len(await objects(node)) == 2
    clock.advance(25 * 3600)
    await collector.sweep()
    assert await objects(node) == set()


@pytest.mark.chaos
@pytest.mark.promise("C27")
async def test_a_process_that_was_killed_during_an_upload(
    settings: Settings, people: People, collector: Collector, clock: FakeClock, folder: Path
) -> None:
    [ann] = await people(1)
    going = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield PDF.ljust(8 * _MIB)
        await going.wait()

    async with process(settings) as (killed, program):
        waiting = asyncio.create_task(upload(killed, ann, slow()))
        async with asyncio.timeout(30):
            while not any(name.partition("#")[1] and size for name, size in lying(folder).items()):
                await asyncio.sleep(0.02)
        await program.end(signal.SIGKILL)
        going.set()
        await asyncio.gather(waiting, return_exceptions=True)
    await collector.sweep()
    assert lying(folder)
    clock.advance(25 * 3600)
    await collector.sweep()
    assert lying(folder) == {}


async def test_the_sweep_keeps_what_has_a_row_and_what_is_not_ours(
    node: Node, people: People, collector: Collector, clock: FakeClock
) -> None:
    ann, bob = await people(2)
    shown = await uploaded(node, ann, picture())
    await show(node, ann, await node.group(ann, bob), shown)
    unused = await uploaded(node, ann, picture())
    store = node.context.files.store
    await store.put("backup/of/somebody", b"x")
    await store.put("files/ab/lost", b"x")
    await store.put("thumbnails/ab/lost", b"x")
    await store.put("incoming/ab/raw", b"x")
    clock.advance(25 * 3600)
    await collector.sweep()
    left = await objects(node)
    assert len(left) == 5
    assert "backup/of/somebody" in left
    for file in (shown, unused):
        assert (await get(node, ann, file["thumbnail_url"])).status_code == 200


async def test_files_whose_release_was_forgotten(
    node: Node, people: People, collector: Collector, clock: FakeClock, database: Database
) -> None:
    ann, bob = await people(2)
    message = await show(node, ann, await node.group(ann, bob), await uploaded(node, ann))
    async with database.transaction() as db:
        await db.execute(text("UPDATE message SET deleted_at = now() WHERE id = :m"), {"m": UUID(message)})
    clock.advance(25 * 3600)
    await collector.sweep()
    await collector.step()
    assert (await objects(node), await used(node, ann)) == (set(), 0)


@pytest.mark.promise("C62")
async def test_files_of_somebody_who_was_erased(
    node: Node, people: People, collector: Collector, database: Database
) -> None:
    ann, bob = await people(2)
    conversation = await node.group(ann, bob)
    mine, his = await uploaded(node, ann), await uploaded(node, bob, picture(), "his-face.jpg")
    await uploaded(node, bob)
    for person, file in ((ann, mine), (bob, his)):
        await show(node, person, conversation, file)
    await erase(database, bob)
    assert (await get(node, ann, his["url"])).status_code == 404
    answer = await node.call(ann, "GET", f"/conversations/{conversation}/messages")
    assert "his-face" not in answer.text
    assert [len(message["attachments"]) for message in answer.json()["results"]] == [0, 1]
    await collector.step()
    assert len(await objects(node)) == 1
    assert (await get(node, ann, mine["url"])).status_code == 200


async def test_an_upload_that_ends_after_its_owner_was_erased(
    node: Node, people: People, collector: Collector, database: Database
) -> None:
    [ann] = await people(1)
    now = Clock().now() - timedelta(seconds=1)
    async with database.transaction() as db:
        values = {"user": ann.id, "first": UUID(int=0), "now": now}
        await db.execute(text(erasure._ASK), values)
    await uploaded(node, ann)
    await erasure.work(database, Clock())
    await collector.step()
    assert await objects(node) == set()


@pytest.mark.chaos
@pytest.mark.promise("C27")
async def test_the_worker_collects(node: Node, settings: Settings, people: People) -> None:
    [ann] = await people(1)
    file = await uploaded(node, ann, picture())
    await node.call(ann, "DELETE", f"/attachments/{file['id']}")
    worker = Process(["worker"], environment(settings))
    await worker.start()
    try:
        async with asyncio.timeout(60):
            while await objects(node):
                await asyncio.sleep(0.1)
    finally:
        await worker.end()
