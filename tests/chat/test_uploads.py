"""Files on their way in."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from chat_service.settings import Settings
from libs import filenames
from libs.db import Database
from tests.chat.conftest import People, SettingsFor
from tests.chat.filing import PDF, get, objects, picture, show, upload, uploaded
from tests.chat.nodes import Node, running

_MIB = 1 << 20


@pytest.fixture(scope="module")
async def small(settings_for: SettingsFor, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    """With a store of its own and little room."""
    folder = str(tmp_path_factory.mktemp("small"))
    limits = {"attachment_max_bytes": 2 * _MIB, "attachment_quota_bytes": 3 * _MIB}
    async with running(settings_for(attachment_store=folder, **limits)) as node:
        yield node


async def pieces(count: int, size: int = 64 << 10, head: bytes = PDF) -> AsyncIterator[bytes]:
    yield head.ljust(size, b"\0")
    for _ in range(count - 1):
        yield bytes(size)


@pytest.mark.promise("C27")
async def test_what_was_uploaded_comes_back(one: Node, people: People) -> None:
    [ann] = await people(1)
    file = await uploaded(one, ann, b"gr\xc3\xbc\xc3\x9fe", "grüße.txt")
    assert (file["name"], file["content_type"], file["kind"], file["size"]) == ("grüße.txt", "text/plain", "file", 7)
    assert (file["url"], file["thumbnail_url"]) == (f"/api/v1/attachments/{file['id']}", None)
    assert (await get(one, ann, file["url"])).content == "grüße".encode()


async def test_a_form_as_browsers_send_it(one: Node, people: People) -> None:
    [ann] = await people(1)
    form = {"comment": (None, b"x"), "file": ("..\\bild.pdf", PDF, "text/html")}
    answer = await one.call(ann, "POST", "/attachments", files=form)
    assert answer.status_code == 201, answer.text
    assert (answer.json()["name"], answer.json()["content_type"]) == ("bild.pdf", "application/pdf")
    assert (await get(one, ann, answer.json()["url"])).content == PDF


@pytest.mark.parametrize(
    "form",
    [
        {"other": ("a.pdf", PDF)},
        [("file", ("a.pdf", PDF)), ("file", ("b.pdf", PDF))],
        {"other": (None, b"x" * 70_000), "file": ("a.pdf", PDF)},
        {"file": ("a.pdf", b"")},
    ],
)
async def test_a_form_with_more_or_less_than_one_file(one: Node, people: People, form: object) -> None:
    [ann] = await people(1)
    answer = await one.call(ann, "POST", "/attachments", files=form)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "file")


@pytest.mark.parametrize("media", ["multipart/form-data", "multipart/form-data; boundary=" + "x" * 71])
async def test_a_form_without_a_boundary(one: Node, people: People, media: str) -> None:
    [ann] = await people(1)
    answer = await one.http.post("/api/v1/attachments", content=PDF, headers={**ann.headers, "Content-Type": media})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        b"--b\r\nContent-Disposition: form-data; name=file; filename=a.pdf\r\n\r\n" + PDF,
        b"no form at all",
        b"--b\r\nContent-Disposition",
        b"--b\r\n\r\n\r\n--b--",
    ],
)
async def test_a_form_that_breaks_off(small: Node, people: People, body: bytes) -> None:
    [ann] = await people(1)
    before = await objects(small)
    headers = {**ann.headers, "Content-Type": "multipart/form-data; boundary=b"}
    answer = await small.http.post("/api/v1/attachments", content=body, headers=headers)
    assert answer.status_code == 422
    assert await objects(small) == before


@pytest.mark.promise("C27")
async def test_a_large_file_is_never_in_memory(one: Node, people: People) -> None:
    [ann] = await people(1)
    tracemalloc.start()
    try:
        file = await uploaded(one, ann, pieces(320), "large.pdf")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert file["size"] == 20 * _MIB
    assert peak < 10 * _MIB


@pytest.mark.promise("C27")
async def test_a_file_that_is_too_large(small: Node, people: People) -> None:
    [ann] = await people(1)
    before = await objects(small)
    for body in (pieces(33), PDF.ljust(2 * _MIB + 1)):
        answer = await upload(small, ann, body, "a.pdf")
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert await objects(small) == before
    assert (await upload(small, ann, PDF.ljust(2 * _MIB))).status_code == 201


@pytest.mark.promise("C27")
@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"MZ\x90\x00", "photo.jpg"),
        (b"\x7fELF\x02\x01\x01", "notes.txt"),
        (b"#!/bin/sh\nrm -rf /", "notes.txt"),
        (b"PK\x03\x04" + bytes(26) + b"META-INF/MANIFEST.MF", "archive.zip"),
        (b"PK\x03\x04" + bytes(26) + b"AndroidManifest.xml", "archive.zip"),
        (b"WScript.Echo(1)", "invoice.js"),
        (b"WScript.Echo(1)", "invoice.js "),
        (b"echo", "invoice.pdf.BAT"),
        (b"echo", "invoice.bat."),
        (b"echo", "tab\u202etxt.bat"),
        (bytes(100), "zeros.bin"),
        (b"\xff\xfe\x00text", "a.txt"),
        (b"text \x00 with nul", "a.txt"),
        (b"half a character \xc3", "a.txt"),
        (b"text" * 100_000 + b"\xff", "long.txt"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(20), "a.heic"),
        (b"RIFF\x00\x00\x00\x00EVIL", "a.webp"),
    ],
)
async def test_what_is_not_accepted(small: Node, people: People, content: bytes, name: str) -> None:
    [ann] = await people(1)
    before = await objects(small)
    answer = await upload(small, ann, content, name)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_type")
    assert await objects(small) == before


@pytest.mark.promise("C27")
@pytest.mark.parametrize(
    ("content", "found", "kind"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "text/plain", "file"),
        (b"<!doctype html><script>alert(1)</script>", "text/plain", "file"),
        (PDF + b"PK\x03\x04<script>", "application/pdf", "file"),
        (b"ID3\x04\x00<html>", "audio/mpeg", "audio"),
        (b"OggS" + bytes(24) + b"OpusHead", "audio/ogg", "audio"),
        (b"\x1aE\xdf\xa3webm A_OPUS", "audio/webm", "audio"),
        (b"\x1aE\xdf\xa3webm V_VP9 A_OPUS", "video/webm", "video"),
        (b"\x00\x00\x00\x18ftypisom" + bytes(20), "video/mp4", "video"),
        (b"\x00\x00\x00\x18ftypM4A " + bytes(20), "audio/mp4", "audio"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio/wav", "audio"),
        (b"#!AMR\n", "audio/amr", "audio"),
        (b"PK\x03\x04" + bytes(26) + b"[Content_Types].xml word/document.xml", None, "file"),
        (b"PK\x03\x04" + bytes(26) + b"notes.txt", "application/zip", "file"),
    ],
)
async def test_the_bytes_say_what_it_is(
    one: Node, people: People, content: bytes, found: str | None, kind: str
) -> None:
    [ann] = await people(1)
    file = await uploaded(one, ann, content, "photo.jpg")
    assert file["kind"] == kind
    assert file["content_type"] == (found or f"{_OFFICE}.wordprocessingml.document")
    answer = await get(one, ann, file["url"])
    assert answer.headers["content-disposition"].startswith("attachment" if kind == "file" else "inline")


_OFFICE = "application/vnd.openxmlformats-officedocument"


async def test_types_are_a_setting(settings_for: SettingsFor, people: People) -> None:
    [ann] = await people(1)
    async with running(settings_for(attachment_types="application/pdf, audio/*")) as node:
        assert (await upload(node, ann, PDF)).status_code == 201
        assert (await upload(node, ann, b"ID3")).status_code == 201
        assert (await upload(node, ann, b"text")).status_code == 415
        assert (await upload(node, ann, picture())).status_code == 415


def test_types_are_separated_by_commas() -> None:
    assert Settings(attachment_types="a/b, c/*").attachment_types == ["a/b", "c/*"]


@pytest.mark.promise("C27")
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\a.pdf", "a.pdf"),
        ("..", "file"),
        ("", "file"),
        ("a\r\nSet-Cookie: x.pdf", "aSet-Cookie_ x.pdf"),
        ("a\u202efdp.pdf", "afdp.pdf"),
        ("a\u0000b.pdf", "ab.pdf"),
        ("CON.pdf", "_CON.pdf"),
        (' "<a>|*?".pdf ', "__a_____.pdf"),
        (".htaccess", "htaccess"),
        ("файл 👩‍👧.pdf", "файл 👩‍👧.pdf"),
    ],
)
async def test_names_hold_no_paths_and_no_tricks(one: Node, people: People, given: str, kept: str) -> None:
    [ann] = await people(1)
    answer = await one.call(ann, "POST", "/attachments", files={"file": (given or "x", b"x")}) if given else None
    file = await uploaded(one, ann, b"x", given)
    assert file["name"] == kept
    assert (await get(one, ann, file["url"])).status_code == 200
    assert answer is None or answer.status_code == 201


@pytest.mark.parametrize("name", ["ä" * 400 + ".pdf", "x" * 900, "a." + "y" * 600, "👩" * 100])
def test_long_names_are_cut_between_characters(name: str) -> None:
    cut = filenames.clean(name)
    assert 200 < len(cut.encode()) <= 255
    assert name.startswith(cut.removesuffix(".pdf"))
    assert cut.endswith(".pdf") == name.endswith(".pdf")


async def test_a_picture_is_named_as_one(one: Node, people: People) -> None:
    [ann] = await people(1)
    assert (await uploaded(one, ann, picture("GIF") + b"<script>", "evil.html"))["name"] == "evil.html.gif"


@pytest.mark.promise("C27")
async def test_two_uploads_at_once_do_not_fit_where_one_does(small: Node, people: People) -> None:
    [ann] = await people(1)
    before = len(await objects(small))
    answers = await asyncio.gather(*(upload(small, ann, PDF.ljust(_MIB + 1)) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"quota_exceeded"}
    assert len(await objects(small)) == before + 2
    shown = (await small.call(ann, "GET", "/attachments")).json()
    assert (shown["used_bytes"], shown["quota_bytes"]) == (2 * _MIB + 2, 3 * _MIB)


async def test_room_is_for_each_and_deleting_makes_some(small: Node, people: People) -> None:
    ann, bob = await people(2)
    files = [await uploaded(small, ann, PDF.ljust(_MIB)) for _ in range(3)]
    assert (await upload(small, ann, b"x")).status_code == 409
    assert (await upload(small, bob, b"x")).status_code == 201
    assert (await small.call(ann, "DELETE", f"/attachments/{files[0]['id']}")).status_code == 204
    assert (await get(small, ann, files[0]["url"])).status_code == 404


async def test_too_many_uploads_at_once(small: Node, people: People) -> None:
    [ann] = await people(1)
    going = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield PDF
        await going.wait()

    running = [asyncio.create_task(upload(small, ann, slow())) for _ in range(4)]
    async with asyncio.timeout(10):
        while small.context.files._under_way[ann.id] < 4:
            await asyncio.sleep(0.01)
    answer = await upload(small, ann, b"x")
    going.set()
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_uploads")
    assert {answer.status_code for answer in await asyncio.gather(*running)} == {201}


@pytest.mark.promise("C27")
async def test_an_upload_that_breaks_off_leaves_nothing(small: Node, people: People) -> None:
    [ann] = await people(1)
    before = await objects(small)
    host, port = small.url.removeprefix("http://").split(":")
    for kind in ("application/pdf", "multipart/form-data; boundary=b"):
        _, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /api/v1/attachments HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ann.token}\r\n"
        writer.write(f"{head}Content-Type: {kind}\r\nContent-Length: 1500000\r\n\r\n".encode())
        form = b"--b\r\nContent-Disposition: form-data; name=file\r\n\r\n" if "form" in kind else b""
        writer.write(form + PDF.ljust(_MIB))
        await writer.drain()
        writer.transport.abort()
    async with asyncio.timeout(10):
        while small.context.files._under_way:
            await asyncio.sleep(0.01)
    assert await objects(small) == before
    assert (await small.call(ann, "GET", "/attachments")).json()["used_bytes"] == 0


async def test_what_is_declared_as_too_large_is_not_even_read(small: Node, people: People) -> None:
    [ann] = await people(1)
    host, port = small.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /api/v1/attachments HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ann.token}\r\n"
    writer.write(f"{head}Content-Type: a/b\r\nContent-Length: {3 * _MIB}\r\n\r\n".encode())
    async with asyncio.timeout(10):
        assert b" 413 " in await reader.readline()
    writer.close()


async def test_a_file_is_posted(one: Node, people: People) -> None:
    [ann] = await people(1)
    for method in ("PUT", "PATCH"):
        assert (await one.call(ann, method, "/attachments", content=PDF)).status_code == 405


async def test_nobody_uploads_without_a_token(one: Node) -> None:
    assert (await one.http.post("/api/v1/attachments", content=b"x")).status_code == 401


async def test_own_unused_files_are_listed(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    files = [await uploaded(one, ann, b"x", f"{number}.txt") for number in range(4)]
    await uploaded(one, bob)
    await show(one, ann, await one.group(ann, bob), files[3])
    first = (await one.call(ann, "GET", "/attachments?limit=2")).json()
    assert [file["name"] for file in first["results"]] == ["2.txt", "1.txt"]
    rest = await get(one, ann, first["next"])
    assert [file["name"] for file in rest.json()["results"]] == ["0.txt"]
    assert (rest.json()["next"], rest.json()["used_bytes"]) == (None, 4)
    assert (await one.call(ann, "GET", "/attachments?cursor=WyJ4Il0")).status_code == 422


async def test_one_deletes_ones_own_unused_alone(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    file, shown = await uploaded(one, ann), await uploaded(one, ann)
    await show(one, ann, await one.group(ann, bob), shown)
    for person, which in ((bob, file["id"]), (ann, shown["id"]), (bob, shown["id"]), (ann, str(uuid4()))):
        assert (await one.call(person, "DELETE", f"/attachments/{which}")).status_code == 404
    assert (await get(one, ann, file["url"])).status_code == (await get(one, bob, shown["url"])).status_code == 200
