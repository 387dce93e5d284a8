"""What has ended is forgotten after a while, in small transactions: deliveries with their attempts and contents, and
what people have written and sent. Ids carry the time of their making, so the oldest rows are found at the beginning of
the primary key, and what is still open there is stepped over."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text

from libs.clock import Clock
from libs.db import Database

_CHUNK = 1000
_FIRST = UUID(int=0)
# The state is looked at where the row is removed: somebody may send it again at this very moment.
_DELIVERIES = text(
    """
    WITH old AS (SELECT id FROM delivery WHERE id > :after AND id < :before ORDER BY id LIMIT :chunk),
    gone AS (
        DELETE FROM delivery USING old WHERE delivery.id = old.id AND updated_at < :until
            AND coalesce(follow_at, updated_at) < :until
            AND state NOT IN ('collected', 'queued', 'claimed', 'sending', 'retry')
    )
    SELECT id FROM old ORDER BY id DESC LIMIT 1
    """
)
_BATCHES = text(
    """
    WITH old AS (SELECT id FROM batch WHERE id > :after AND id < :before ORDER BY id LIMIT :chunk),
    gone AS (
        DELETE FROM batch USING old
        WHERE batch.id = old.id AND NOT EXISTS (SELECT FROM delivery WHERE batch_id = batch.id)
    )
    SELECT id FROM old ORDER BY id DESC LIMIT 1
    """
)
_MESSAGES = text(
    """
    WITH old AS (SELECT id FROM inbound_message WHERE id > :after AND id < :before ORDER BY id LIMIT :chunk),
    gone AS (DELETE FROM inbound_message USING old WHERE inbound_message.id = old.id)
    SELECT id FROM old ORDER BY id DESC LIMIT 1
    """
)
_FILES = text(
    """
    WITH old AS (SELECT id FROM inbound_file WHERE id > :after AND id < :before ORDER BY id LIMIT :chunk),
    gone AS (DELETE FROM inbound_file USING old WHERE inbound_file.id = old.id)
    SELECT id FROM old ORDER BY id DESC LIMIT 1
    """
)
# Whoever sends one again at this very moment moves its time.
_CONTENTS = text(
    """
    DELETE FROM inbound_media WHERE kept_at < :until
        AND NOT EXISTS (SELECT FROM inbound_file WHERE inbound_file.sha256 = inbound_media.sha256)
    """
)
_THREADS = text("DELETE FROM thread WHERE last_inbound_at < :until")


async def work(database: Database, clock: Clock, *, deliveries: timedelta, inbound: timedelta) -> None:
    """One turn of the worker. A time of nothing keeps for ever."""
    if deliveries:
        until = clock.now() - deliveries
        await _remove(database, _DELIVERIES, until, {"until": until})
        await _remove(database, _BATCHES, until)
    if inbound:
        until = clock.now() - inbound
        await _remove(database, _MESSAGES, until)
        await _remove(database, _FILES, until)
        async with database.transaction() as db:
            await db.execute(_CONTENTS, {"until": until})
            await db.execute(_THREADS, {"until": until})


async def _remove(database: Database, step: TextClause, until: datetime, more: dict[str, Any] | None = None) -> None:
    after: UUID | None = _FIRST
    while after is not None:
        values = {"after": after, "before": _first_of(until), "chunk": _CHUNK, **(more or {})}
        async with database.transaction() as db:
            after = await db.scalar(step, values)


def _first_of(at: datetime) -> UUID:
    """Before all ids that are made from then on."""
    return UUID(int=int(at.timestamp() * 1000) << 80)
