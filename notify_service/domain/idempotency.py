"""A request that is repeated because its answer got lost has its effect once."""

import hashlib
import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from notify_service.errors import KeyReused

KEEP = timedelta(hours=24)


def hash_of(method: str, path: str, body: str) -> bytes:
    return hashlib.sha256(json.dumps([method, path, body]).encode()).digest()


async def begin(
    db: AsyncSession, owner_id: UUID, key: str, *, request_hash: bytes, now: datetime
) -> dict[str, Any] | None:
    """The answer of the request that came first, or None for the first. Raises KeyReused for a different request.

    Of two at the same moment the second waits here until the first commits: the row is inserted before the effect.
    """
    values = {"owner": owner_id, "key": key, "hash": request_hash, "now": now, "before": now - KEEP}
    expired = text("DELETE FROM idempotency_key WHERE owner_id = :owner AND key = :key AND created_at <= :before")
    await db.execute(expired, {name: values[name] for name in ("owner", "key", "before")})
    first = await db.scalar(
        text(
            "INSERT INTO idempotency_key (owner_id, key, request_hash, created_at) "
            "VALUES (:owner, :key, :hash, :now) ON CONFLICT DO NOTHING RETURNING true"
        ),
        {name: values[name] for name in ("owner", "key", "hash", "now")},
    )
    if first:
        return None
    query = text("SELECT request_hash, answer FROM idempotency_key WHERE owner_id = :owner AND key = :key")
    known = (await db.execute(query, {"owner": owner_id, "key": key})).one()
    if known.request_hash != request_hash:
        raise KeyReused
    answer: dict[str, Any] = known.answer
    return answer


async def end(db: AsyncSession, owner_id: UUID, key: str, answer: str) -> None:
    """Keeps the answer (JSON), in the transaction of the effect."""
    await db.execute(
        text("UPDATE idempotency_key SET answer = CAST(:answer AS jsonb) WHERE owner_id = :owner AND key = :key"),
        {"owner": owner_id, "key": key, "answer": answer},
    )


async def forget(db: AsyncSession, now: datetime) -> None:
    await db.execute(text("DELETE FROM idempotency_key WHERE created_at < :before"), {"before": now - KEEP})
