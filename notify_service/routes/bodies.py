"""The file that is a request's body, put aside until all of it is here."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO

from fastapi import Request
from starlette.requests import ClientDisconnect

from libs.errors import PayloadTooLarge
from notify_service.errors import TooManyUploads, UploadBroken

MOST_BYTES = 64 << 20
# Each may fill as much of the disk as it may have bytes.
_AT_ONCE = 2
_IN_MEMORY = 1 << 20
# Longer silence is taken for the end. The gateway is stricter.
_SILENCE_SECONDS = 60.0


class Incoming:
    """Of one process. A file goes to disk first: a slow sender must hold neither a connection nor a transaction."""

    def __init__(self) -> None:
        self._under_way = 0

    @asynccontextmanager
    async def file(self, request: Request) -> AsyncIterator[IO[bytes]]:
        """Raises PayloadTooLarge, TooManyUploads and UploadBroken."""
        if int(request.headers.get("content-length", "0")) > MOST_BYTES:
            raise PayloadTooLarge
        if self._under_way >= _AT_ONCE:
            raise TooManyUploads(1)
        self._under_way += 1
        try:
            with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
                await _receive(request, file)
                file.seek(0)
                yield file
        finally:
            self._under_way -= 1


async def _receive(request: Request, file: IO[bytes]) -> None:
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(_SILENCE_SECONDS):
                chunk = await anext(stream, b"")
        except (ClientDisconnect, TimeoutError):
            raise UploadBroken from None
        if not chunk:
            return
        if file.tell() + len(chunk) > MOST_BYTES:
            raise PayloadTooLarge
        file.write(chunk)
