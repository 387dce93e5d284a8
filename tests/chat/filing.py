"""Files for the tests, and what is done with them: sent through real requests, shown by messages, looked at."""

import io
from typing import Any

import httpx2
from PIL import Image, PngImagePlugin

from tests.chat.nodes import Node, Person

SECRET = b"SECRET-PLACE"
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n"


async def upload(node: Node, person: Person, content: Any, name: str = "notes.txt") -> httpx2.Response:
    """As the body itself. Its declared type is nonsense on purpose."""
    headers = {**person.headers, "Content-Type": "image/x-whatever"}
    return await node.http.post("/api/v1/attachments", params={"name": name}, content=content, headers=headers)


async def uploaded(node: Node, person: Person, content: Any = b"hello", name: str = "notes.txt") -> dict[str, Any]:
    answer = await upload(node, person, content, name)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def get(node: Node, person: Person, path: str, **headers: str) -> httpx2.Response:
    return await node.http.get(path, headers={**person.headers, **headers})


async def show(node: Node, person: Person, conversation: str, *files: dict[str, Any]) -> str:
    """A message of the person that shows the files. Gives its id."""
    message = await node.say(person, conversation, "Look", attachments=[file["id"] for file in files])
    assert [file["url"] for file in message["attachments"]] == [file["url"] for file in files]
    return str(message["id"])


def picture(kind: str = "JPEG", size: tuple[int, int] = (640, 320), **more: Any) -> bytes:
    """Its left half is red, its right half blue."""
    image = Image.new("RGB", size, "blue")
    image.paste("red", (0, 0, size[0] // 2, size[1]))
    written = io.BytesIO()
    image.save(written, kind, **more)
    return written.getvalue()


def exif(orientation: int = 1) -> Image.Exif:
    """Where it was taken, and by which device."""
    made = Image.Exif()
    made[0x0112] = orientation
    made[0x010F] = SECRET.decode()
    made.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 30.0), 29: SECRET.decode()})
    return made


def talkative(kind: str, orientation: int = 1) -> bytes:
    """A picture that tells where it was taken in every way that its kind knows, and once more behind its end."""
    ways: dict[str, dict[str, Any]] = {
        "JPEG": {"exif": exif(orientation), "xmp": b"<x>" + SECRET + b"</x>", "comment": SECRET},
        "PNG": {"exif": exif(orientation), "pnginfo": PngImagePlugin.PngInfo()},
        "WEBP": {"exif": exif(orientation), "xmp": b"<x>" + SECRET + b"</x>"},
        "GIF": {"comment": SECRET},
    }
    if kind == "PNG":
        ways[kind]["pnginfo"].add_text("Comment", SECRET.decode())
        ways[kind]["pnginfo"].add_itxt("XML:com.adobe.xmp", SECRET.decode())
    return picture(kind, **ways[kind]) + SECRET


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


async def objects(node: Node) -> set[str]:
    """Everything in the store."""
    found: set[str] = set()
    async for page in node.context.files.store.pages():
        found |= {each.key for each in page}
    return found
