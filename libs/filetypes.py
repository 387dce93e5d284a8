"""What a file is, by its bytes. What its sender says of it is never believed."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

Kind = Literal["image", "audio", "video", "file"]
IMAGES = {"image/jpeg": "JPEG", "image/png": "PNG", "image/gif": "GIF", "image/webp": "WEBP"}
"""Those that are shown, with what the decoder calls them. Other images are files like any other."""

# What a computer runs when somebody opens it. None of them is ever taken.
_PROGRAMS = (
    *(b"MZ", b"\x7fELF", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe"),
    *(b"\xca\xfe\xba\xbe", b"#!", b"\x00asm", b"dex\n", b"!<arch>\n", b"\xed\xab\xee\xdb", b"MSCF"),
    *(b"L\x00\x00\x00\x01\x14\x02\x00", b"FWS", b"CWS", b"ZWS", b"BC\xc0\xde", b"xar!"),
)
_PROGRAMS_IN_ZIP = (b"META-INF/MANIFEST.MF", b"AndroidManifest.xml", b"classes.dex")
_PROGRAM_ENDINGS = """
exe dll com scr msi msp bat cmd ps1 psm1 vbs vbe js jse mjs wsf wsh hta lnk jar apk ipa app cpl msc pif reg scf inf
gadget command workflow deb rpm dmg pkg iso img vhd xll application appref-ms chm url desktop
"""
_PROGRAM_NAMES = frozenset(_PROGRAM_ENDINGS.split())
_SIGNATURES = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"BM", "image/bmp"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"{\\rtf", "application/rtf"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"PK\x05\x06", "application/zip"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"Rar!\x1a\x07", "application/vnd.rar"),
    (0, b"\x1f\x8b\x08", "application/gzip"),
    (0, b"\xfd7zXZ\x00", "application/x-xz"),
    (0, b"BZh", "application/x-bzip2"),
    (257, b"ustar", "application/x-tar"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"\xff\xf3", "audio/mpeg"),
    (0, b"\xff\xf2", "audio/mpeg"),
    (0, b"\xff\xf1", "audio/aac"),
    (0, b"\xff\xf9", "audio/aac"),
    (0, b"fLaC", "audio/flac"),
    (0, b"#!AMR", "audio/amr"),
    (0, b"caff", "audio/x-caf"),
    (0, b"OggS", "audio/ogg"),
    (0, b"\x1aE\xdf\xa3", "audio/webm"),
    (4, b"ftyp", "video/mp4"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_BRANDS = {
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"qt  ": "video/quicktime",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"hevc": "image/heic",
    b"mif1": "image/heic",
    b"msf1": "image/heic",
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"3gp4": "video/3gpp",
    b"3gp5": "video/3gpp",
    b"3gp6": "video/3gpp",
}
_OFFICE = "application/vnd.openxmlformats-officedocument"
_PARTS = {b"word/": "wordprocessingml.document", b"xl/": "spreadsheetml.sheet", b"ppt/": "presentationml.presentation"}
_OPEN_DOCUMENT = b"mimetypeapplication/"
# Of the containers that hold sound or pictures: what tells that there are pictures.
_MOVING = {"audio/webm": (b"V_VP", b"V_AV1", b"V_MPEG"), "audio/ogg": (b"\x80theora", b"\x01video")}
_ENDINGS = {
    "image/jpeg": ("jpg", "jpeg", "jpe", "jfif"),
    "image/png": ("png", "apng"),
    "image/gif": ("gif",),
    "image/webp": ("webp",),
    "audio/mpeg": ("mp3", "mpga"),
    "audio/aac": ("aac",),
    "audio/flac": ("flac",),
    "audio/amr": ("amr",),
    "audio/x-caf": ("caf",),
    "audio/wav": ("wav",),
    "audio/ogg": ("ogg", "oga", "opus"),
    "audio/webm": ("weba", "webm", "mka"),
    "audio/mp4": ("m4a", "m4b", "mp4"),
    "video/mp4": ("mp4", "m4v", "m4a"),
    "video/quicktime": ("mov", "qt"),
    "video/3gpp": ("3gp",),
    "video/ogg": ("ogv", "ogg"),
    "video/webm": ("webm", "mkv"),
    "video/x-msvideo": ("avi",),
    "application/pdf": ("pdf",),
}


@dataclass(frozen=True, slots=True)
class FileType:
    content_type: str

    @property
    def kind(self) -> Kind:
        if self.content_type in IMAGES:
            return "image"
        family = self.content_type.partition("/")[0]
        return "audio" if family == "audio" else "video" if family == "video" else "file"

    @property
    def endings(self) -> Sequence[str]:
        """How names of such files end, the usual way first; empty: in any way."""
        return _ENDINGS.get(self.content_type, ())


def detect(head: bytes, allowed: Sequence[str]) -> FileType | None:
    """Of the first bytes; None for what is not `allowed`, and for programs. `text/plain` holds only if the whole is
    UTF-8."""
    found = _detect(head)
    if found is None or not any(fnmatchcase(found, pattern) for pattern in allowed):
        return None
    return FileType(found)


def is_program(name: str) -> bool:
    """By the last ending of a name."""
    return name.rpartition(".")[2].strip().lower() in _PROGRAM_NAMES


def _detect(head: bytes) -> str | None:
    if head.startswith(_PROGRAMS) and not head.startswith(b"#!AMR"):
        return None
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    found = next((kind for place, mark, kind in _SIGNATURES if head.startswith(mark, place)), None)
    if found is None:
        return "text/plain" if _looks_like_text(head) else None
    if found == "application/zip":
        return _in_zip(head)
    if found == "video/mp4":
        return _in_mp4(head)
    if any(mark in head for mark in _MOVING.get(found, ())):
        return found.replace("audio", "video")
    return found


def _looks_like_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        # The last character may go on behind what is here.
        if error.end < len(head) or error.reason != "unexpected end of data":
            return False
        text = head[: error.start].decode()
    return "\x00" not in text


def _in_zip(head: bytes) -> str | None:
    if any(mark in head for mark in _PROGRAMS_IN_ZIP):
        return None
    if head[30:].startswith(_OPEN_DOCUMENT):
        length = int.from_bytes(head[18:22], "little")
        named = head[38 : 38 + min(length, 100)].decode("ascii", "replace")
        return named if named.startswith(("application/vnd.oasis.opendocument.", "application/epub")) else None
    if b"[Content_Types].xml" in head:
        return next((f"{_OFFICE}.{kind}" for part, kind in _PARTS.items() if part in head), "application/zip")
    return "application/zip"


def _in_mp4(head: bytes) -> str:
    named = _BRANDS.get(head[8:12])
    if named is None and b"soun" in head and b"vide" not in head:
        return "audio/mp4"
    return named or "video/mp4"
