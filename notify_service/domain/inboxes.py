"""What comes over `inapp`, put into inboxes: many notifications, few transactions."""

from collections.abc import Callable, Sequence
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from libs.clock import Clock
from libs.db import Database, is_unavailable
from libs.errors import Unavailable
from notify_service.domain import notifications, profiles
from notify_service.domain.batches import Batches
from notify_service.domain.channels.inapp import NO_USER, UNAVAILABLE, UNSURE
from notify_service.domain.drafts import Draft
from notify_service.domain.profiles import Ask
from notify_service.models import Notification

_MOST = 500
Tell = Callable[[AsyncSession, Notification], None]
"""Shows a new notification to whoever has the inbox open, after the commit."""

log = structlog.get_logger()


class Inboxes:
    """`put` answers when the notification is in its inbox, or with the code of what keeps it out."""

    def __init__(self, db: Database, ask: Ask, tell: Tell, clock: Clock) -> None:
        self._db = db
        self._ask = ask
        self._tell = tell
        self._clock = clock
        self._writes: Batches[Draft, str | Exception | None] = Batches(self._write, most=_MOST)

    async def run(self) -> None:
        await self._writes.run()

    async def put(self, draft: Draft) -> str | None:
        """One whose id is there already changes nothing, and is told to nobody. Raises what no waiting would mend."""
        outcome = await self._writes.put(draft)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _write(self, drafts: Sequence[Draft]) -> Sequence[str | Exception | None]:
        try:
            async with self._db.transaction() as db:
                refusals = await self._refusals(db, {draft.user_id for draft in drafts})
                welcome = [draft for draft in drafts if draft.user_id not in refusals]
                for created in await notifications.create(db, welcome, self._clock.now()):
                    self._tell(db, created)
        except Exception as error:  # noqa: BLE001  -- each caller raises it
            if not is_unavailable(error):
                return [error] * len(drafts)
            log.warning("inboxes_wait", waiting=len(drafts), reason=type(error).__name__)
            return [UNAVAILABLE] * len(drafts)
        return [refusals.get(draft.user_id) for draft in drafts]

    async def _refusals(self, db: AsyncSession, users: set[UUID]) -> dict[UUID, str]:
        """Those who have no inbox, or of whom nobody can say at this moment."""
        try:
            known, code = await profiles.find(db, users, self._ask), NO_USER
        except Unavailable:
            # Auth is away. Whom we know get theirs; the others wait for it, and hold up nobody.
            known, code = await profiles.stored(db, users), UNSURE
        return dict.fromkeys(users - known.keys(), code)
