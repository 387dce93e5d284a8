"""Takes away the files that nobody can have any more. Several workers at once do each other no harm."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import text

from chat_service.domain.stores import Listed, Store
from chat_service.domain.uploads import FILES, INCOMING, THUMBNAILS
from libs.clock import Clock
from libs.db import Database

_BATCH = 20
# An upload has long ended by then, with its row or without.
_ORPHAN_AGE = timedelta(days=1)

_EXPIRE = """
UPDATE attachment SET released_at = :now
WHERE message_id IS NULL AND released_at IS NULL AND created_at < :before
"""
_RELEASED = """
SELECT id, store_key, thumbnail_key FROM attachment WHERE released_at IS NOT NULL
ORDER BY released_at LIMIT :batch FOR UPDATE SKIP LOCKED
"""
_SHARED = """
SELECT DISTINCT store_key FROM attachment
WHERE store_key = ANY(CAST(:keys AS text[])) AND NOT id = ANY(CAST(:ids AS uuid[]))
"""
_FORGET = "DELETE FROM attachment WHERE id = ANY(CAST(:ids AS uuid[]))"
_KNOWN = "SELECT DISTINCT store_key FROM attachment WHERE store_key = ANY(CAST(:keys AS text[]))"
# Whoever deletes a message releases its files with it. Should that ever be forgotten, it is made good here.
_RELEASE_DELETED = """
UPDATE attachment AS a SET released_at = :now
WHERE a.store_key = ANY(CAST(:keys AS text[])) AND a.message_id IS NOT NULL AND a.released_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM message AS m JOIN conversation AS c ON c.id = m.conversation_id
    WHERE m.conversation_id = a.conversation_id AND m.id = a.message_id
      AND m.deleted_at IS NULL AND c.deleted_at IS NULL)
"""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Collector:
    db: Database
    store: Store
    clock: Clock
    unused_hours: int

    async def step(self) -> None:
        """Files that no message shows in time, and those whose message or owner is gone."""
        now = self.clock.now()
        async with self.db.transaction() as db:
            await db.execute(text(_EXPIRE), {"now": now, "before": now - timedelta(hours=self.unused_hours)})
        while await self._take_away():
            pass

    async def sweep(self) -> None:
        """Looks through the whole store for what no row knows: uploads that were killed before they had one."""
        before = self.clock.now() - _ORPHAN_AGE
        await self.store.forget_unfinished(before)
        async for page in self.store.pages():
            orphans = await self._orphans([found for found in page if found.changed_at < before])
            await self.store.delete(orphans)
            if orphans:
                log.info("orphans_deleted", count=len(orphans))

    async def _take_away(self) -> bool:
        """The bytes go first, then the row, whose lock nobody else gets meanwhile: killed in between, it is done again.
        Nobody can have a released file, so none is seen without its bytes."""
        async with self.db.transaction() as db:
            rows: Sequence[Any] = (await db.execute(text(_RELEASED), {"batch": _BATCH})).all()
            if not rows:
                return False
            ids = [row.id for row in rows]
            wanted = {"keys": [row.store_key for row in rows], "ids": ids}
            shared = set(await db.scalars(text(_SHARED), wanted))
            for row in rows:
                if row.store_key not in shared:
                    await self.store.delete([row.store_key, *([row.thumbnail_key] if row.thumbnail_key else [])])
            await db.execute(text(_FORGET), {"ids": ids})
        return True

    async def _orphans(self, page: Sequence[Listed]) -> list[str]:
        # A small picture lies under the name of the large one. What is in no folder of ours is not ours.
        owner = {found.key: _row_key(found.key) for found in page}
        keys = sorted({key for key in owner.values() if key})
        async with self.db.transaction() as db:
            await db.execute(text(_RELEASE_DELETED), {"keys": keys, "now": self.clock.now()})
            known = set(await db.scalars(text(_KNOWN), {"keys": keys}))
        return [key for key, row_key in owner.items() if row_key is not None and row_key not in known]


def _row_key(key: str) -> str | None:
    """Which `store_key` an object belongs to; None: it is none of ours."""
    folder, _, name = key.partition("/")
    if folder not in (FILES, THUMBNAILS, INCOMING):
        return None
    return f"{FILES}/{name}" if folder != INCOMING else key
