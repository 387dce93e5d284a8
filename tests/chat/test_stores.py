"""Files in an object store that speaks S3, and stores that are away."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from chat_service.domain.collecting import Collector
from deploy.local.ports import free_port
from libs.db import Database
from libs.testing.clock import FakeClock
from tests.chat.conftest import People, SettingsFor
from tests.chat.filing import PDF, get, objects, picture, upload, uploaded
from tests.chat.nodes import Node, running

_MIB = 1 << 20


@pytest.fixture(scope="module")
async def s3() -> AsyncIterator[str]:
    """A server of its own, with an empty bucket."""
    port = free_port()
    quiet = {"stdout": asyncio.subprocess.DEVNULL, "stderr": asyncio.subprocess.DEVNULL}
    command = (sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port))
    server = await asyncio.create_subprocess_exec(*command, env={**os.environ, "PYTHONWARNINGS": "ignore"}, **quiet)
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as client, asyncio.timeout(60):
            while True:
                with contextlib.suppress(httpx2.TransportError):
                    if (await client.put("/bucket")).status_code == 200:
                        break
                await asyncio.sleep(0.1)
        yield url
    finally:
        server.kill()
        await server.wait()


@contextlib.contextmanager
def pointing(endpoint: str) -> Iterator[None]:
    """The environment that the store's library reads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_REGION", "us-east-1")
        yield


@pytest.fixture(scope="module")
async def cloud(settings_for: SettingsFor, s3: str) -> AsyncIterator[Node]:
    with pointing(s3):
        async with running(settings_for(attachment_store="s3://bucket/parley")) as node:
            yield node


@pytest.mark.promise("C27")
async def test_files_lie_in_the_bucket(cloud: Node, people: People, s3: str) -> None:
    [ann] = await people(1)
    content = PDF.ljust(12 * _MIB, b"z")
    file = await uploaded(cloud, ann, content)
    assert (await get(cloud, ann, file["url"])).content == content
    part = await get(cloud, ann, file["url"], Range=f"bytes={5 * _MIB}-{5 * _MIB + 9}")
    assert (part.status_code, part.content) == (206, b"z" * 10)
    async with httpx2.AsyncClient(base_url=s3, trust_env=False) as client:
        listed = (await client.get("/bucket?list-type=2")).text
    assert all(f"parley/{key}" in listed for key in await objects(cloud))


async def test_pictures_in_the_bucket(cloud: Node, people: People) -> None:
    [ann] = await people(1)
    content = picture("PNG", (600, 600), compress_level=0)
    file = await uploaded(cloud, ann, content)
    assert (await get(cloud, ann, file["thumbnail_url"])).status_code == 200
    assert not [key for key in await objects(cloud) if key.startswith("incoming/")]


async def test_what_breaks_off_leaves_nothing_in_the_bucket(cloud: Node, people: People, s3: str) -> None:
    [ann] = await people(1)
    before = await objects(cloud)

    async def text() -> AsyncIterator[bytes]:
        for _ in range(12):
            yield b"x" * _MIB
        yield b"\xff"

    assert (await upload(cloud, ann, text())).status_code == 415
    assert await objects(cloud) == before
    async with httpx2.AsyncClient(base_url=s3, trust_env=False) as client:
        assert "<UploadId>" not in (await client.get("/bucket?uploads")).text


async def test_the_collector_in_the_bucket(cloud: Node, people: People, database: Database) -> None:
    [ann] = await people(1)
    file = await uploaded(cloud, ann, picture())
    await cloud.context.files.store.put("files/ab/lost", b"x")
    before = len(await objects(cloud))
    clock = FakeClock()
    collector = Collector(database, cloud.context.files.store, clock, 24)
    await cloud.call(ann, "DELETE", f"/attachments/{file['id']}")
    await collector.step()
    assert len(await objects(cloud)) == before - 2
    clock.advance(25 * 3600)
    await collector.sweep()
    assert len(await objects(cloud)) == before - 3


@pytest.mark.parametrize("address", ["s3://bucket/parley", "/dev/null/nowhere", "file:///dev/null/nowhere"])
async def test_a_store_that_is_away(settings_for: SettingsFor, people: People, one: Node, address: str) -> None:
    [ann] = await people(1)
    file = await uploaded(one, ann, picture())
    with pointing("http://127.0.0.1:9"):
        async with running(settings_for(attachment_store=address)) as node:
            answers = [
                await upload(node, ann, PDF),
                await upload(node, ann, PDF.ljust(_MIB)),
                await get(node, ann, file["url"]),
                await get(node, ann, file["thumbnail_url"]),
            ]
            assert (await node.http.get("/health/ready")).status_code == 200
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(503, "store_unavailable")}
    assert "bucket" not in "".join(answer.text for answer in answers)
    assert (await one.call(ann, "GET", "/attachments")).json()["used_bytes"] == file["size"]


async def test_a_file_whose_bytes_are_lost(one: Node, people: People) -> None:
    [ann] = await people(1)
    before = await objects(one)
    file = await uploaded(one, ann, picture())
    await one.context.files.store.delete(list(await objects(one) - before))
    for url in (file["url"], file["thumbnail_url"]):
        assert (await get(one, ann, url)).status_code == 404
