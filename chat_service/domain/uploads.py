"""A file on its way in: measured, looked at, and handed on to the store while it arrives."""

import codecs
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import structlog

from chat_service.domain import attachments
from chat_service.domain.attachments import Stored
from chat_service.domain.pictures import Pictures
from chat_service.domain.stores import Store
from chat_service.errors import TooLarge, TooManyUploads, UnsupportedType, invalid
from libs import filenames, filetypes
from libs.errors import ServiceError, Unavailable
from libs.filetypes import IMAGES, FileType
from libs.ids import uuid7
from libs.lanes import Lanes

# So much is looked at before it is decided what a file is. What is no longer goes to the store in one piece.
_HEAD = 256 << 10
# Two or three of these are in memory while they are prepared.
_MAX_PICTURE = 32 << 20
# Each holds a part or two for the store.
_AT_ONCE = 24
_AT_ONCE_EACH = 4
INCOMING, FILES, THUMBNAILS = "incoming", "files", "thumbnails"

log = structlog.get_logger()


class Incoming(NamedTuple):
    name: str
    chunks: AsyncIterator[bytes]
    length: int
    """It is at least so long."""


@dataclass(frozen=True, slots=True)
class Limits:
    max_bytes: int
    quota: int
    types: tuple[str, ...]
    unused_hours: int


@dataclass(frozen=True, slots=True)
class Files:
    """What uploads and downloads of a process share."""

    store: Store
    pictures: Pictures
    limits: Limits
    lanes: Lanes
    _under_way: Counter[UUID] = field(default_factory=Counter)

    @contextmanager
    def turn(self, me: UUID) -> Iterator[None]:
        """Raises TooManyUploads."""
        if self._under_way[me] >= _AT_ONCE_EACH or self._under_way.total() >= _AT_ONCE:
            raise TooManyUploads(1)
        self._under_way[me] += 1
        try:
            yield
        finally:
            self._under_way[me] -= 1
            if not self._under_way[me]:
                del self._under_way[me]


async def receive(files: Files, me: UUID, incoming: Incoming, *, now: datetime) -> attachments.Row:
    """Stores the file, then its row: a process that is killed between the two leaves bytes that nobody refers to, and
    the collector finds them.

    Raises TooLarge, UnsupportedType, Invalid, QuotaExceeded, TooManyUploads or StoreUnavailable.
    """
    if incoming.length > files.limits.max_bytes:
        raise _too_large(files.limits.max_bytes)
    await attachments.require_room(files.lanes, me, max(incoming.length, 1), quota=files.limits.quota)
    if filetypes.is_program(filenames.clean(incoming.name)):
        raise UnsupportedType("Programs are not accepted.")
    body = _Body(incoming.chunks, files.limits.max_bytes)
    head = await body.head()
    if not head:
        raise invalid("file", "This file is empty.")
    found = filetypes.detect(head, files.limits.types)
    if found is None:
        raise UnsupportedType
    if found.content_type in IMAGES:
        stored = await _store_picture(files, incoming.name, found, body)
    else:
        stored = await _store_file(files, incoming.name, found, body)
    return await _keep(files, me, stored, now=now)


async def _keep(files: Files, me: UUID, stored: Stored, *, now: datetime) -> attachments.Row:
    try:
        return await attachments.add(files.lanes, me, stored, quota=files.limits.quota, now=now)
    except Unavailable:
        # It may have been committed all the same. What was not, the collector takes away.
        raise
    except ServiceError:
        await files.store.delete([stored.key, *([stored.thumbnail_key] if stored.thumbnail_key else [])])
        raise


async def _store_file(files: Files, name: str, found: FileType, body: "_Body") -> Stored:
    body.must_be_text = found.content_type == "text/plain"
    key = _key(FILES)
    await files.store.put(key, await body.whole_or_rest())
    return Stored(key, filenames.clean(name, found.endings), found.content_type, found.kind, body.size)


async def _store_picture(files: Files, name: str, found: FileType, body: "_Body") -> Stored:
    """A picture goes in twice: as it comes, for who sends slowly must not fill the memory, and as it stays."""
    body.limit = min(body.limit, _MAX_PICTURE)
    raw = await body.whole_or_rest()
    before = None if isinstance(raw, bytes) else _key(INCOMING)
    if before is not None:
        await files.store.put(before, raw)
    async with files.pictures.turn:
        data = raw if isinstance(raw, bytes) else await files.store.read(before or "")
        try:
            picture = await files.pictures.prepare(data, found.content_type)
        finally:
            if before is not None:
                await files.store.delete([before])
        key = _key(FILES)
        thumbnail = thumbnail_of(key)
        await files.store.put(thumbnail, picture.small)
        await files.store.put(key, picture.content)
    return Stored(
        key,
        filenames.clean(name, found.endings),
        found.content_type,
        found.kind,
        len(picture.content),
        width=picture.width,
        height=picture.height,
        thumbnail_key=thumbnail,
    )


def _key(folder: str) -> str:
    """Nothing of it comes from outside."""
    name = uuid7().hex
    # Spread by the random end: folders of a file system do not like to be large.
    return f"{folder}/{name[-2:]}/{name}"


def thumbnail_of(key: str) -> str:
    return key.replace(FILES, THUMBNAILS, 1)


class _Body:
    """The bytes of a file. Its beginning is kept, the rest is passed on."""

    def __init__(self, chunks: AsyncIterator[bytes], limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.must_be_text = False
        self._chunks = chunks
        self._head = b""
        self._ended = False

    async def head(self) -> bytes:
        while len(self._head) < _HEAD and not self._ended:
            chunk = await anext(self._chunks, None)
            self._ended = chunk is None
            self._head += chunk or b""
            self._count(chunk or b"")
        return self._head

    async def whole_or_rest(self) -> bytes | AsyncIterator[bytes]:
        """A short file as a whole, a longer one piece by piece."""
        pieces = self._pieces()
        return b"".join([piece async for piece in pieces]) if self._ended else pieces

    async def _pieces(self) -> AsyncIterator[bytes]:
        text: Any = codecs.getincrementaldecoder("utf-8")() if self.must_be_text else None
        _require_text(text, self._head)
        yield self._head
        self._head = b""
        async for chunk in self._chunks:
            self._count(chunk)
            _require_text(text, chunk)
            yield chunk
        _require_text(text, b"", final=True)

    def _count(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size > self.limit:
            raise _too_large(self.limit)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(extra={"limit": limit})


def _require_text(decoder: Any, chunk: bytes, *, final: bool = False) -> None:
    if decoder is None:
        return
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError:
        raise UnsupportedType from None
    if b"\x00" in chunk:
        raise UnsupportedType
