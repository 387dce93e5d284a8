"""Takes everything out of a picture but the picture, and draws it small. Runs as a program of its own.

    python -I imaging.py JPEG 50000000 < picture

Decoders are written in C and fed by strangers: here they have no secrets, no connections of ours, and little time and
memory. The answer is a line of JSON, then the picture, then the small one. The picture is not encoded anew: its
pixels and its animation stay as they are, only what lies around them goes. The way up stays, as the one thing that is
left of its EXIF.
"""

import io
import json
import re
import resource
import struct
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping

from PIL import Image, ImageOps

_THUMBNAIL = (512, 512)
_MEMORY = 1 << 30
_SECONDS = 20
_ORIENTATION = 0x0112
_MAX_PROFILE = 1 << 20
# What a colour profile needs to work. Its other parts name devices, makers and owners.
_COLOUR_TAGS = frozenset(b"rXYZ gXYZ bXYZ wtpt bkpt chad rTRC gTRC bTRC kTRC".split())
# PNG: pixels, palette, transparency, colour, animation.
_CHUNKS = frozenset(b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB sBIT bKGD acTL fcTL fdAT".split())
_WEBP_CHUNKS = frozenset((b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"))
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


class Broken(Exception):
    """Not a picture of its kind from beginning to end."""


class TooManyPixels(Exception):
    pass


def prepare(data: bytes, kind: str, max_pixels: int) -> tuple[dict[str, int], bytes, bytes]:
    with Image.open(io.BytesIO(data), formats=(kind,)) as image:
        if image.width * image.height > max_pixels:
            raise TooManyPixels
        orientation = int(image.getexif().get(_ORIENTATION, 1))
        profile = _profile(image.info.get("icc_profile") or b"")
    kept = STRIP[kind](data, _exif(orientation) if 2 <= orientation <= 8 else b"", profile)
    with Image.open(io.BytesIO(kept), formats=(kind,)) as image:
        width, height = image.size
        small = _draw_small(image, profile)
    if orientation >= 5:
        width, height = height, width
    return {"width": width, "height": height}, kept, small


def _draw_small(image: Image.Image, profile: bytes) -> bytes:
    image.thumbnail(_THUMBNAIL)
    upright = ImageOps.exif_transpose(image)
    clear = "A" in upright.getbands() or "transparency" in upright.info
    drawn = upright.convert("RGBA" if clear else "RGB")
    drawn.info.clear()
    written = io.BytesIO()
    # A profile of grey shades says nothing of the colours that these have become.
    drawn.save(written, "WEBP", quality=80, method=4, icc_profile=profile if profile[16:20] == b"RGB " else b"")
    return written.getvalue()


def _exif(orientation: int) -> bytes:
    return b"MM\x00*\x00\x00\x00\x08\x00\x01" + struct.pack(">HHIHHI", _ORIENTATION, 3, 1, orientation, 0, 0)


def _profile(icc: bytes) -> bytes:
    """A colour profile of a simple kind without its texts; empty for any other."""
    if len(icc) < 132 or len(icc) > _MAX_PROFILE or icc[16:20] not in (b"RGB ", b"GRAY"):
        return b""
    tags = []
    for number in range(min(struct.unpack_from(">I", icc, 128)[0], 100)):
        name, place, length = struct.unpack_from(">4sII", icc, 132 + 12 * number)
        if name in _COLOUR_TAGS and place + length <= len(icc):
            tags.append((name, icc[place : place + length]))
    names = {name for name, _ in tags}
    if not names >= {b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"} and b"kTRC" not in names:
        return b""
    return _profile_of(icc[:128], tags)


def _profile_of(head: bytes, tags: list[tuple[bytes, bytes]]) -> bytes:
    # Maker, date, platform, device, creator and id are left empty.
    head = b"\0" * 8 + head[8:24] + b"\0" * 12 + b"acsp" + b"\0" * 24 + head[64:80] + b"\0" * 48
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags:
        table += struct.pack(">4sII", name, 132 + 12 * len(tags) + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    whole = head[4:] + table + body
    return struct.pack(">I", len(whole) + 4) + whole


def strip_jpeg(data: bytes, exif: bytes, profile: bytes) -> bytes:
    kept = [b"\xff\xd8"]
    if exif:
        kept.append(_segment(0xE1, b"Exif\0\0" + exif))
    for start in range(0, len(profile), 65_000):
        count = -(-len(profile) // 65_000)
        part = b"ICC_PROFILE\0" + bytes((start // 65_000 + 1, count)) + profile[start : start + 65_000]
        kept.append(_segment(0xE2, part))
    for marker, content in _segments(data):
        # Tables, frames and scans; what Adobe and JFIF say of the colours. All others go.
        if marker == 0xE0 and content[4:9] == b"JFIF\0":
            kept.insert(1, _segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"))
        if 0xC0 <= marker <= 0xDF or (marker == 0xEE and content[4:9] == b"Adobe"):
            kept.append(content)
    return b"".join((*kept, b"\xff\xd9"))


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """With their scans, up to the end of the picture: what some cameras append is another one, or a film."""
    place = 2
    while True:
        if data[place] != 0xFF:
            raise Broken
        while data[place + 1] == 0xFF:
            place += 1
        marker = data[place + 1]
        if marker == 0xD9:
            return
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == 0xDA:
            following = _MARKER.search(data, end)
            if following is None:
                raise Broken
            end = following.start()
        if end > len(data) - 2:
            raise Broken
        yield marker, data[place:end]
        place = end


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def strip_png(data: bytes, exif: bytes, profile: bytes) -> bytes:
    kept, place, ended = [data[:8]], 8, False
    while not ended:
        length, name = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            raise Broken
        if name in _CHUNKS:
            kept.append(data[place:end])
        if name == b"IHDR":
            kept += [_chunk(b"eXIf", exif)] if exif else []
            kept += [_chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile))] if profile else []
        place, ended = end, name == b"IEND"
    return b"".join(kept)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def strip_webp(data: bytes, exif: bytes, profile: bytes) -> bytes:
    end = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    place, canvas, kept = 12, b"", []
    while place + 8 <= end:
        name, length = struct.unpack_from("<4sI", data, place)
        content = data[place + 8 : place + 8 + length]
        if len(content) < length:
            raise Broken
        if name == b"VP8X":
            canvas = content
        elif name in _WEBP_CHUNKS:
            kept.append(_riff(name, content))
        place += 8 + length + length % 2
    if not canvas:
        # The simple form holds pixels and nothing else.
        return _riff(b"RIFF", b"WEBP" + b"".join(kept))
    flags = canvas[0] & 0b00010010 | (0b00100000 if profile else 0) | (0b00001000 if exif else 0)
    head = _riff(b"VP8X", bytes((flags,)) + canvas[1:])
    before = _riff(b"ICCP", profile) if profile else b""
    return _riff(b"RIFF", b"WEBP" + head + before + b"".join(kept) + (_riff(b"EXIF", exif) if exif else b""))


def _riff(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def strip_gif(data: bytes, _exif: bytes, _profile: bytes) -> bytes:
    place = 13 + _palette(data[10])
    kept = [data[:place]]
    while data[place] != 0x3B:
        if data[place] == 0x21:
            start, end = place, _sub_blocks(data, place + 2)
            repeats = data[start + 1] == 0xFF and data[start + 3 : start + 14] in (b"NETSCAPE2.0", b"ANIMEXTS1.0")
            wanted = data[start + 1] == 0xF9 or repeats
        elif data[place] == 0x2C:
            end, wanted = _sub_blocks(data, place + 11 + _palette(data[place + 9])), True
        else:
            raise Broken
        if wanted:
            kept.append(data[place:end])
        place = end
    return b"".join((*kept, b";"))


def _palette(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _sub_blocks(data: bytes, place: int) -> int:
    while data[place]:
        place += data[place] + 1
    return place + 1


STRIP: dict[str, Callable[[bytes, bytes, bytes], bytes]] = {
    "JPEG": strip_jpeg,
    "PNG": strip_png,
    "WEBP": strip_webp,
    "GIF": strip_gif,
}


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    kind, max_pixels = sys.argv[1], int(sys.argv[2])
    Image.MAX_IMAGE_PIXELS = max_pixels
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    try:
        facts, kept, small = prepare(sys.stdin.buffer.read(), kind, max_pixels)
    except (TooManyPixels, Image.DecompressionBombWarning, Image.DecompressionBombError):
        _say({"refused": "pixels"})
    except Exception:  # noqa: BLE001  -- decoders raise whatever comes to their minds
        _say({"refused": "broken"})
    else:
        _say({**facts, "kept": len(kept), "small": len(small)})
        sys.stdout.buffer.write(kept + small)


def _say(facts: Mapping[str, object]) -> None:
    sys.stdout.buffer.write(json.dumps(facts).encode() + b"\n")


if __name__ == "__main__":
    main()
