"""Where the bytes of files lie: a folder, or an object store, by its address."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from chat_service.errors import StoreUnavailable

if TYPE_CHECKING:
    from obstore.store import ObjectStore

# The least that S3 takes as a part; a second is read while the first is sent.
_PART = 5 << 20
# One request to the store for so much of a download. A stream would be cut where a slow client takes longer than the
# time limit of a request.
_BLOCK = 1 << 20
_PAGE = 1000

log = structlog.get_logger()


class Listed(NamedTuple):
    key: str
    changed_at: datetime


class Store:
    """Opened when first needed: a process that serves sockets alone needs no folder.

    Every method raises StoreUnavailable when the store cannot do it now.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._opened: ObjectStore | None = None

    async def put(self, key: str, body: bytes | AsyncIterator[bytes]) -> None:
        """All or nothing. What the iterator raises comes out as it is."""
        with _outages():
            whole = isinstance(body, bytes)
            await obstore.put_async(
                self._store(), key, body, use_multipart=not whole, chunk_size=_PART, max_concurrency=1
            )

    async def get(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes from `start` up to `end`, in blocks. Raises FileNotFoundError."""
        while start < end:
            until = min(start + _BLOCK, end)
            with _outages():
                block = await obstore.get_range_async(self._store(), key, start=start, end=until)
            yield bytes(block)
            start = until

    async def read(self, key: str) -> bytes:
        """The whole of something small. Raises FileNotFoundError."""
        with _outages():
            found = await obstore.get_async(self._store(), key)
            return bytes(await found.bytes_async())

    async def delete(self, keys: Sequence[str]) -> None:
        """What is not there is gone already."""
        for key in keys:
            with _outages():
                try:
                    await obstore.delete_async(self._store(), key)
                except FileNotFoundError:
                    continue

    async def pages(self) -> AsyncIterator[list[Listed]]:
        """Everything that lies there, some at a time."""
        with _outages():
            async for page in obstore.list(self._store(), chunk_size=_PAGE):
                yield [Listed(found["path"], found["last_modified"]) for found in page]

    async def forget_unfinished(self, before: datetime) -> None:
        """What uploads left in a folder when their process was killed; object stores have rules of their own for it."""
        store = self._store()
        if isinstance(store, LocalStore) and store.prefix is not None:
            await asyncio.to_thread(_remove_unfinished, Path(store.prefix), before)

    def _store(self) -> "ObjectStore":
        if self._opened is None:
            self._opened = _open(self._address)
        return self._opened


def _open(address: str) -> "ObjectStore":
    if "://" not in address:
        folder = Path(address).absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return LocalStore(folder)
    if address.startswith("file:"):
        return from_url(address, mkdir=True)
    # By default it tries for three minutes, for which nobody waits. Whether there is TLS is said by the address.
    return from_url(
        address,
        client_options={"timeout": "30s", "connect_timeout": "3s", "allow_http": True},
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=10)},
    )


@contextmanager
def _outages() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError) as error:
        # The kind alone: the text of such an error has addresses and keys.
        log.warning("store_unavailable", reason=type(error).__name__)
        raise StoreUnavailable from error


def _remove_unfinished(folder: Path, before: datetime) -> None:
    for path in folder.rglob("*#*"):
        if path.is_file() and path.stat().st_mtime < before.timestamp():
            path.unlink(missing_ok=True)
