"""Pictures: nothing hidden in them stays, and a small one is drawn."""

import asyncio
import struct
import zlib

import pytest

from chat_service.domain import pictures
from tests.chat.conftest import People, SettingsFor
from tests.chat.filing import SECRET, get, objects, opened, picture, talkative, upload, uploaded
from tests.chat.nodes import Node, running

KINDS = ("JPEG", "PNG", "WEBP", "GIF")


def png_of(width: int, height: int, content: bytes) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


@pytest.mark.promise("C29")
@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_hidden_stays(one: Node, people: People, kind: str) -> None:
    [ann] = await people(1)
    content = talkative(kind, orientation=6)
    assert SECRET in content
    file = await uploaded(one, ann, content, "a")
    for url in (file["url"], file["thumbnail_url"]):
        kept = (await get(one, ann, url)).content
        assert SECRET not in kept
        image = opened(kept)
        assert set(image.getexif()) <= {0x0112}
        assert not {"xmp", "comment", "Comment", "XML:com.adobe.xmp"} & set(image.info)
    assert file["size"] == len((await get(one, ann, file["url"])).content)


@pytest.mark.promise("C29")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
async def test_the_way_up_stays(one: Node, people: People, kind: str, orientation: int) -> None:
    [ann] = await people(1)
    file = await uploaded(one, ann, talkative(kind, orientation))
    upright = (640, 320) if orientation < 5 else (320, 640)
    assert (file["width"], file["height"]) == upright
    kept = opened((await get(one, ann, file["url"])).content)
    assert (kept.size, kept.getexif().get(0x0112, 1)) == ((640, 320), orientation)
    small = opened((await get(one, ann, file["thumbnail_url"])).content)
    assert small.size == ((512, 256) if orientation < 5 else (256, 512))
    # Where the red half, the left one of what is stored, comes to lie.
    corners = {1: (0, 0), 2: (1, 0), 3: (1, 0), 4: (0, 0), 5: (0, 0), 6: (0, 0), 7: (0, 1), 8: (0, 1)}
    x, y = corners[orientation]
    red, _, blue = small.convert("RGB").getpixel((x * (small.width - 1), y * (small.height - 1)))  # type: ignore[misc]
    assert (red > 200, blue < 50) == (True, True)


@pytest.mark.promise("C29")
@pytest.mark.parametrize("kind", KINDS)
async def test_pixels_stay_as_they_are(one: Node, people: People, kind: str) -> None:
    [ann] = await people(1)
    content = talkative(kind)
    kept = (await get(one, ann, (await uploaded(one, ann, content))["url"])).content
    assert opened(kept).convert("RGB").tobytes() == opened(content).convert("RGB").tobytes()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
async def test_what_moves_goes_on_moving(one: Node, people: People, kind: str) -> None:
    [ann] = await people(1)
    frames = [opened(picture("PNG", (64, 64))).rotate(90 * n) for n in range(1, 4)]
    content = picture(kind, (64, 64), save_all=True, append_images=frames, duration=100, loop=0)
    file = await uploaded(one, ann, content)
    kept = opened((await get(one, ann, file["url"])).content)
    assert getattr(kept, "n_frames", 1) == getattr(opened(content), "n_frames", 1) == 4
    assert kept.info.get("loop") == 0


async def test_clear_pictures_have_clear_thumbnails(one: Node, people: People) -> None:
    [ann] = await people(1)
    clear = opened(picture("PNG", (900, 30))).convert("RGBA")
    clear.putalpha(0)
    content = pictures.imaging.io.BytesIO()
    clear.save(content, "PNG")
    file = await uploaded(one, ann, content.getvalue())
    small = await get(one, ann, file["thumbnail_url"])
    assert small.headers["content-type"] == "image/webp"
    image = opened(small.content)
    assert (image.size, image.mode) == ((512, 17), "RGBA")
    assert image.getpixel((0, 0))[3] == 0  # type: ignore[index]


async def test_thumbnails_are_not_sent_again(one: Node, people: People) -> None:
    [ann] = await people(1)
    file = await uploaded(one, ann, picture())
    first = await get(one, ann, file["thumbnail_url"])
    again = await get(one, ann, file["thumbnail_url"], **{"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert first.headers["etag"] != (await get(one, ann, file["url"])).headers["etag"]


async def test_what_is_no_picture_has_no_thumbnail(one: Node, people: People) -> None:
    [ann] = await people(1)
    file = await uploaded(one, ann)
    assert (file["width"], file["height"], file["thumbnail_url"]) == (None, None, None)
    assert (await get(one, ann, f"{file['url']}/thumbnail")).status_code == 404


@pytest.mark.promise("C29")
@pytest.mark.parametrize(
    "content",
    [
        # 2.5 thousand million pixels, in a file of a few hundred KB.
        png_of(50_000, 50_000, zlib.compress(bytes(1 << 20))),
        png_of(2**31 - 1, 2**31 - 1, b""),
        b"GIF89a\xff\xff\xff\xff\x00\x00\x00\x2c\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x00;",
    ],
)
async def test_bombs_are_not_unpacked(one: Node, people: People, content: bytes) -> None:
    [ann] = await people(1)
    before = await objects(one)
    answer = await upload(one, ann, content)
    assert answer.status_code == 422
    assert "pixels" in answer.json()["errors"][0]["message"]
    assert await objects(one) == before


@pytest.mark.parametrize("kind", KINDS)
async def test_damaged_pictures(one: Node, people: People, kind: str) -> None:
    [ann] = await people(1)
    before = await objects(one)
    whole = picture(kind)
    for content in (whole[: len(whole) // 2], whole[:20], whole[:100] + bytes(50)):
        answer = await upload(one, ann, content)
        assert (answer.status_code, answer.json()["errors"][0]["message"]) == (422, "This picture is damaged.")
    assert await objects(one) == before


async def test_the_most_pixels_are_a_setting(settings_for: SettingsFor, people: People) -> None:
    [ann] = await people(1)
    async with running(settings_for(attachment_max_pixels=200)) as node:
        assert (await upload(node, ann, picture(size=(20, 10)))).status_code == 201
        assert (await upload(node, ann, picture(size=(20, 11)))).status_code == 422


@pytest.mark.promise("C29")
async def test_others_are_served_while_pictures_are_drawn(one: Node, people: People) -> None:
    """A large picture takes a second of work; the loop that serves everybody is not held up by it."""
    [ann] = await people(1)
    content = picture("PNG", (6000, 4000))
    drawing = asyncio.gather(*(upload(one, ann, content) for _ in range(3)))
    served = 0
    while not drawing.done():
        assert (await one.call(ann, "GET", "/attachments")).status_code == 200
        served += 1
    assert {answer.status_code for answer in await drawing} == {201}
    # On one loop with the drawing it would be a handful.
    assert served > 20


async def test_a_decoder_that_hangs_is_ended(
    one: Node, people: People, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    [ann] = await people(1)
    program = pictures.Path(str(tmp_path)) / "hangs.py"
    program.write_text("import time\ntime.sleep(100)")
    monkeypatch.setattr(pictures, "_PROGRAM", program)
    monkeypatch.setattr(pictures, "_PATIENCE_SECONDS", 0.2)
    assert (await upload(one, ann, picture())).status_code == 422
    program.write_text("import os\nos.abort()")
    assert (await upload(one, ann, picture())).status_code == 422
