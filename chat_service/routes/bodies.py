"""The file in a request, as it arrives: the body itself, or the part `file` of a form as browsers send it."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from chat_service.domain.uploads import Incoming
from chat_service.errors import UploadBroken, invalid

# Longer silence is taken for the end. The gateway is stricter.
_SILENCE_SECONDS = 60.0
# What a form may hold besides its file.
_MAX_OTHER = 64 << 10
_FIELD = b"file"


async def file_of(request: Request, name: str | None) -> Incoming:
    """`name` is for a file that is the body; a form brings its own. Raises Invalid or UploadBroken, also while the
    file is read."""
    length = int(request.headers.get("content-length", "0"))
    media, options = parse_options_header(request.headers.get("content-type"))
    if media.lower() != b"multipart/form-data":
        return Incoming(name or "", _body(request), length)
    boundary = options.get(b"boundary")
    if not boundary or len(boundary) > 70:
        raise invalid("file", "The form has no valid boundary.")
    form = _Form(boundary)
    chunks = form.chunks(_body(request))
    first = await anext(chunks, None)
    if first is None:
        raise invalid("file", "This field is required.")
    return Incoming(form.name, _after(first, chunks), max(length - _MAX_OTHER, 0))


async def _body(request: Request) -> AsyncIterator[bytes]:
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(_SILENCE_SECONDS):
                chunk = await anext(stream, b"")
        except (ClientDisconnect, TimeoutError):
            raise UploadBroken from None
        if not chunk:
            return
        yield chunk


async def _after(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in chunks:
        yield chunk


class _Form:
    """multipart/form-data (RFC 7578), piece by piece."""

    def __init__(self, boundary: bytes) -> None:
        self.name = ""
        self._found: list[bytes] = []
        self._field = b""
        self._value = b""
        self._other = 0
        self._files = 0
        self._inside = False
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_begin": self._header_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_part_data": self._data,
                "on_end": self._end,
            },
        )

    async def chunks(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The content of the one file; the first comes once its name is known."""
        begun = False
        async for piece in body:
            try:
                self._parser.write(piece)
            except MultipartParseError:
                raise invalid("file", "The form cannot be read.") from None
            if self._other > _MAX_OTHER or self._files > 1:
                raise invalid("file", "Send one file, and nothing else.")
            found, self._found = b"".join(self._found), []
            if found or (self._files and not begun):
                begun = True
                yield found
        if not self._ended:
            raise invalid("file", "The form has no end.")

    def _begin(self) -> None:
        self._inside = False

    def _header_begin(self) -> None:
        self._field = self._value = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._other += len(self._field) + len(self._value)
        if self._field.lower() != b"content-disposition":
            return
        _, options = parse_options_header(self._value)
        if options.get(b"name") == _FIELD:
            self._inside = True
            self._files += 1
            self.name = options.get(b"filename", b"").decode(errors="replace")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._inside:
            self._found.append(data[start:end])
        else:
            self._other += end - start

    def _end(self) -> None:
        self._ended = True
