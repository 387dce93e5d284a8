"""Encrypted fields under the newest key: what an older one sealed is sealed anew, so that the older one can go.

Only what is kept. Codes and links on their way live for a day at most, and their key is waited for.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from prometheus_client import Gauge
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from auth_service.domain import exports, totp
from auth_service.models import Export, Totp
from libs.crypto import CannotDecrypt, FieldCipher
from libs.db import Database

REMAINING = Gauge("parley_fields_under_older_keys", "Encrypted fields that an older key still opens.", ["field"])
_BATCH = 100
_FIRST = UUID(int=0)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Field:
    """`context(key)` is what the ciphertext of a row is bound to."""

    name: str
    key: InstrumentedAttribute[UUID]
    sealed: InstrumentedAttribute[Any]
    context: Any

    def older(self, cipher: FieldCipher) -> Any:
        return func.split_part(self.sealed, ".", 1) != cipher.current


FIELDS = (
    Field("totp", Totp.user_id, Totp.secret, totp.context),
    Field("export", Export.id, Export.document, exports.context),
)


async def renew(database: Database, cipher: FieldCipher) -> int:
    """One turn of the worker: seals anew what it can, in small transactions, and says how much is left."""
    total = 0
    for field in FIELDS:
        after: UUID | None = _FIRST
        while after is not None:
            async with database.transaction() as db:
                after = await _renew_some(db, cipher, field, after=after)
        async with database.transaction() as db:
            count = select(func.count()).select_from(field.key.class_).where(field.older(cipher))
            left = await db.scalar(count) or 0
        REMAINING.labels(field.name).set(left)
        total += left
    if total:
        log.warning("fields_under_older_keys", count=total)
    return total


async def _renew_some(db: AsyncSession, cipher: FieldCipher, field: Field, *, after: UUID) -> UUID | None:
    """The key of the last row that was looked at; None when there are no more."""
    older = select(field.key, field.sealed).where(field.older(cipher), field.key > after)
    rows = (await db.execute(older.order_by(field.key).limit(_BATCH).with_for_update())).all()
    key = None
    for key, sealed in rows:
        await _renew_one(db, cipher, field, key=key, sealed=sealed)
    return key if len(rows) == _BATCH else None


async def _renew_one(db: AsyncSession, cipher: FieldCipher, field: Field, *, key: UUID, sealed: str) -> None:
    context = field.context(key)
    try:
        renewed = cipher.encrypt(cipher.decrypt(sealed, context), context)
    except CannotDecrypt:
        log.error("field_without_key", field=field.name, key=str(key))  # noqa: TRY400  -- counted as left
        return
    change = update(field.key.class_).where(field.key == key).values({field.sealed: renewed})
    await db.execute(change.execution_options(synchronize_session=False))
