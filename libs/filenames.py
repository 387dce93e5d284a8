"""Names of files: what people see and what their computers will save under. Never a path of ours."""

import unicodedata
from collections.abc import Sequence
from urllib.parse import quote

_MAX_BYTES = 255
_FALLBACK = "file"
_NOT_IN_NAMES = str.maketrans(dict.fromkeys('<>:"|?*', "_"))
# Without them a name reads as it is stored; with them `gpj.exe` reads `exe.jpg`. Joiners stay: scripts and emoji need
# them.
_REORDERING = frozenset("\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
_REFUSED = ("Cc", "Cs", "Co", "Cn", "Zl", "Zp")
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})


def clean(name: str, endings: Sequence[str] = ()) -> str:
    """The last part of a path, without what deceives or what no system takes; at most 255 bytes. A name that does not
    end in one of `endings` gets the first."""
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    kept = "".join(c for c in last if c not in _REORDERING and unicodedata.category(c) not in _REFUSED)
    kept = " ".join(kept.translate(_NOT_IN_NAMES).split()).strip(". ")
    if kept.partition(".")[0].lower() in _DEVICES:
        kept = f"_{kept}"
    kept = kept or _FALLBACK
    if endings and kept.rpartition(".")[2].lower() not in endings:
        kept = f"{kept}.{endings[0]}"
    return _cut(kept)


def disposition(how: str, name: str) -> str:
    """The value of Content-Disposition (RFC 6266): plain ASCII for old programs, the whole name for all others."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%;' else "_" for c in name)
    return f"{how}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _cut(name: str) -> str:
    if len(name.encode()) <= _MAX_BYTES:
        return name
    stem, dot, ending = name.rpartition(".")
    tail = f"{dot}{ending}" if stem and len(ending.encode()) <= 20 else ""
    stem = stem if tail else name
    return stem.encode()[: _MAX_BYTES - len(tail.encode())].decode(errors="ignore").rstrip(". ") + tail
