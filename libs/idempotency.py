"""A request that is repeated because its answer got lost has its effect once."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Header, Request
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.auth import CurrentUser
from libs.clock import Clock
from libs.db import Database
from libs.deps import Db, Now, made
from libs.errors import Conflict

KEEP = timedelta(hours=24)
# One that is over is as good as none, whether it has been forgotten or not.
_BEGIN = text(
    """
    INSERT INTO idempotency_key AS k (owner_id, key, request_hash, created_at) VALUES (:owner, :key, :hash, :now)
    ON CONFLICT (owner_id, key) DO UPDATE SET
        request_hash = excluded.request_hash, answer = NULL, created_at = excluded.created_at
        WHERE k.created_at <= :before
    RETURNING true
    """
)
_READ = text("SELECT request_hash, answer FROM idempotency_key WHERE owner_id = :owner AND key = :key")
_END = text("UPDATE idempotency_key SET answer = CAST(:answer AS jsonb) WHERE owner_id = :owner AND key = :key")
_FORGET = text("DELETE FROM idempotency_key WHERE created_at < :before")
Shape = TypeVar("Shape", bound=BaseModel)
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="Repeating a request with the same key within a day has no second effect.",
    ),
]


class KeyReused(Conflict):
    code = "idempotency_key_reused"
    detail = "This Idempotency-Key came with another request before."


class Once:
    """`await once(body, make, shape)`: the effect of `make` and its answer, for this request and all that repeat it.

    The service's database has the table `idempotency_key`.
    """

    def __init__(self, request: Request, db: Db, *, me: CurrentUser, clock: Now, key: Key = None) -> None:
        self._request = request
        self._db = db
        self._me = me
        self._clock = clock
        self._key = key

    @property
    def asked(self) -> bool:
        """Whether this request may be repeated under its key."""
        return self._key is not None

    async def __call__(self, body: BaseModel, make: Callable[[], Awaitable[Shape]], shape: type[Shape]) -> Shape:
        if self._key is None:
            return await make()
        owner, now = self._me.user_id, self._clock.now()
        request_hash = _hash_of(self._request.method, self._request.url.path, body.model_dump_json())
        known = await begin(self._db, owner, self._key, request_hash=request_hash, now=now)
        if known is not None:
            return shape.model_validate(known)
        answer = await make()
        await end(self._db, owner, self._key, answer.model_dump_json())
        return answer


OnceOnly = Annotated[Once, made(Once)]


def _hash_of(method: str, path: str, body: str) -> bytes:
    return hashlib.sha256(json.dumps([method, path, body]).encode()).digest()


async def begin(
    db: AsyncSession, owner_id: UUID, key: str, *, request_hash: bytes, now: datetime
) -> dict[str, Any] | None:
    """The answer of the request that came first, or None for the first. Raises KeyReused for a different request.

    Of two at the same moment the second waits here until the first commits: the row is inserted before the effect.
    """
    values = {"owner": owner_id, "key": key, "hash": request_hash, "now": now, "before": now - KEEP}
    if await db.scalar(_BEGIN, values):
        return None
    known = (await db.execute(_READ, {"owner": owner_id, "key": key})).one()
    if known.request_hash != request_hash:
        raise KeyReused
    answer: dict[str, Any] = known.answer
    return answer


async def end(db: AsyncSession, owner_id: UUID, key: str, answer: str) -> None:
    """Keeps the answer (JSON), in the transaction of the effect."""
    await db.execute(_END, {"owner": owner_id, "key": key, "answer": answer})


async def forget(database: Database, clock: Clock) -> None:
    async with database.transaction() as db:
        before = clock.now() - KEEP
        await db.execute(_FORGET, {"before": before})
