"""The shared Redis. Every key in it may vanish at any moment: PostgreSQL is the truth, this is speed."""

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

_TIMEOUT_SECONDS = 5.0


def connect(url: str) -> "Redis":
    """A client with a pool of its own; answers are bytes. One quick retry covers a connection that died idle."""
    client: Redis = Redis.from_url(
        url,
        socket_connect_timeout=_TIMEOUT_SECONDS,
        socket_timeout=_TIMEOUT_SECONDS,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.05), 1),
    )
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
