"""The contents of batches, remembered by those who send them."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.db import one_of
from notify_service.domain.content import Content
from notify_service.models import Batch

_KEPT = 256
_SAID = select(Batch.id, Batch.content, Batch.route).where(one_of(Batch.id, "batches"))

Key = tuple[UUID, int]
"""A batch, and which of its channels: the first is 0."""


class Contents:
    """Always the same object for a batch and a channel: adapters keep what they have worked out for it."""

    def __init__(self) -> None:
        self._known: OrderedDict[Key, Content] = OrderedDict()

    async def of(self, db: AsyncSession, wanted: Iterable[Key]) -> Mapping[Key, Content]:
        keys = set(wanted)
        missing = {batch for batch, _ in keys - self._known.keys()}
        if missing:
            for row in await db.execute(_SAID, {"batches": list(missing)}):
                said = [row.content, *(step["content"] or row.content for step in row.route)]
                self._known |= {(row.id, step): Content.model_validate(each) for step, each in enumerate(said)}
        found = {key: self._known[key] for key in keys if key in self._known}
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return found
