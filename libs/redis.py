"""The shared Redis. Every key in it may vanish at any moment: PostgreSQL is the truth, this is speed."""

import asyncio
from collections.abc import Iterable
from typing import Any

from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

_TIMEOUT_SECONDS = 5.0


class _Mortal(AbstractConnection):
    """Writes without a task of its own. What it replaces waits by `asyncio.wait_for`, which costs a task for each
    command and on Python 3.11 swallows a cancellation that comes just as the write ends: one in ten of them, and then
    limits of time did not limit and tasks that were told to end went on."""

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:  # noqa: FBT001, FBT002  -- theirs
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        if check_health:
            await self.check_health()  # type: ignore[no-untyped-call]
        try:
            await self._write(command.encode() if isinstance(command, str) else command)
        except TimeoutError:
            await self.disconnect(nowait=True)
            raise RedisTimeoutError("Nobody reads what is written.") from None
        # uvloop raises RuntimeError for a write to a connection that has just been lost.
        except (OSError, RuntimeError) as error:
            await self.disconnect(nowait=True)
            raise RedisConnectionError("The connection was lost.") from error
        except BaseException:
            # Half a command may be out.
            await self.disconnect(nowait=True)
            raise

    async def _write(self, command: bytes | Iterable[bytes]) -> None:
        if (writer := self._writer) is None:
            raise ConnectionResetError
        writer.writelines([command] if isinstance(command, bytes) else command)
        async with asyncio.timeout(self.socket_timeout):
            await writer.drain()


class _Plain(_Mortal, Connection):
    pass


class _Secure(_Mortal, SSLConnection):
    pass


def connect(url: str) -> "Redis":
    """A client with a pool of its own; answers are bytes. One quick retry covers a connection that died idle."""
    pool = ConnectionPool.from_url(
        url,
        socket_connect_timeout=_TIMEOUT_SECONDS,
        socket_timeout=_TIMEOUT_SECONDS,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.05), 1),
    )
    pool.connection_class = _Secure if issubclass(pool.connection_class, SSLConnection) else _Plain
    client: Redis = Redis.from_pool(pool)
    return client


Entries = list[tuple[str, dict[bytes, bytes]]]


async def read_stream(redis: "Redis", stream: str, after: str, *, count: int, block_ms: int) -> Entries:
    """Entries behind the id `after`; waits up to `block_ms` for one."""
    answer: Any = await redis.xread({stream: after}, count=count, block=block_ms)
    # RESP3 answers with a map from stream to batches, RESP2 with pairs.
    batches = [entries for _, entries in (answer.items() if isinstance(answer, dict) else answer or ())]
    return [(entry_id.decode(), fields) for batch in batches for entry_id, fields in _flat(batch)]


def _flat(batch: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    nested = bool(batch) and isinstance(batch[0], list) and bool(batch[0]) and isinstance(batch[0][0], list | tuple)
    return list(batch[0]) if nested else list(batch)
