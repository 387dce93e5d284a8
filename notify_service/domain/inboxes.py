"""What comes over `inapp`, put into inboxes: many notifications by one statement, which is its own transaction."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import structlog

from libs.clock import Clock
from libs.contracts.notifications import NotificationCreated
from libs.db import Database, is_unavailable
from libs.errors import Unavailable
from libs.ids import uuid7
from libs.lanes import Lanes
from notify_service.domain import profiles
from notify_service.domain.batches import Batches
from notify_service.domain.channels.inapp import NO_USER, UNAVAILABLE, UNSURE
from notify_service.domain.drafts import Draft
from notify_service.domain.profiles import Ask
from notify_service.models import Notification

_MOST = 500
# As `notifications.create`, in a fifth of the round trips: somebody waits for it. Running it twice does no harm.
_PUT = """
WITH given AS (
    SELECT * FROM json_to_recordset($1::json) AS each(
        id uuid, user_id uuid, category text, priority text, title text, message text, action_url text, image_url text,
        related_object_type text, related_object_id text, data jsonb, event_id uuid, event jsonb)
),
made AS (
    INSERT INTO notification (id, user_id, category, priority, title, message, action_url, image_url,
        related_object_type, related_object_id, data, created_at)
    SELECT id, user_id, category, priority, title, message, action_url, image_url, related_object_type,
        related_object_id, data, $2
    FROM given WHERE EXISTS (SELECT FROM profile WHERE profile.user_id = given.user_id)
    ON CONFLICT DO NOTHING RETURNING id
),
told AS (
    INSERT INTO outbox (event_id, type, data, occurred_at)
    SELECT event_id, $3, event, $2 FROM made JOIN given USING (id)
)
SELECT given.id, EXISTS (SELECT FROM profile WHERE profile.user_id = given.user_id) AS known, made.id IS NOT NULL AS new
FROM given LEFT JOIN made USING (id)
"""
Show = Callable[[Notification], None]
"""Shows a new notification to whoever has the inbox open."""

log = structlog.get_logger()


class Inboxes:
    """`put` answers when the notification is in its inbox, or with the code of what keeps it out."""

    def __init__(self, db: Database, lanes: Lanes, ask: Ask, show: Show, *, clock: Clock) -> None:
        self._db = db
        self._lanes = lanes
        self._ask = ask
        self._show = show
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
            unknown = await self._put(drafts)
            refusals = await self._refusals({each.user_id for each in unknown}) if unknown else {}
            if late := [each for each in unknown if each.user_id not in refusals]:
                await self._put(late)
        except Exception as error:  # noqa: BLE001  -- each caller raises it
            if not (isinstance(error, Unavailable) or is_unavailable(error)):
                return [error] * len(drafts)
            log.warning("inboxes_wait", waiting=len(drafts), reason=type(error).__name__)
            return [UNAVAILABLE] * len(drafts)
        return [refusals.get(draft.user_id) for draft in drafts]

    async def _put(self, drafts: Sequence[Draft]) -> list[Draft]:
        """Returns those of people whom we do not know."""
        now = self._clock.now()
        given = orjson.dumps([_row(draft) for draft in drafts], default=str).decode()
        found = {row["id"]: row for row in await self._lanes.fetch(_PUT, given, now, NotificationCreated.type)}
        for draft in drafts:
            if draft.id in found and found[draft.id]["new"]:
                self._show(_shown(draft, now))
        if self._db.announce:
            await self._db.announce()
        return [draft for draft in drafts if draft.id in found and not found[draft.id]["known"]]

    async def _refusals(self, users: set[UUID]) -> dict[UUID, str]:
        """Those who have no inbox, or of whom nobody can say at this moment."""
        async with self._db.transaction() as db:
            try:
                known, code = await profiles.find(db, users, self._ask), NO_USER
            except Unavailable:
                # Auth is away. Whom we know get theirs; the others wait for it, and hold up nobody.
                known, code = await profiles.stored(db, users), UNSURE
        return dict.fromkeys(users - known.keys(), code)


def _row(draft: Draft) -> dict[str, Any]:
    event = NotificationCreated(notification_id=draft.id, user_id=draft.user_id, category=draft.category)
    return {**asdict(draft), "event_id": uuid7(), "event": event.model_dump(mode="json")}


def _shown(draft: Draft, now: datetime) -> Notification:
    return Notification(id=draft.id, user_id=draft.user_id, created_at=now, **draft.said)
