"""Notifications put into inboxes at once: many by one statement, which is its own transaction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from notify_service.domain.channels.inapp import NO_USER, UNSURE
from notify_service.domain.drafts import Draft
from notify_service.domain.profiles import Ask
from notify_service.models import Notification

_MOST = 500
_SAID = """
    category, priority, title, message, action_url, image_url, related_object_type, related_object_id, data
"""
RECORD = """
    id uuid, user_id uuid, category text, priority text, title text, message text, action_url text, image_url text,
    related_object_type text, related_object_id text, data jsonb, event_id uuid, event jsonb
"""
"""What `given_of` says of a notification, as a statement reads it."""


def putting(cte: str) -> str:
    """What a statement does besides that has `given`, rows like `RECORD`: those that are in the CTE of this name, by
    `id`, are put into their inboxes at $2, and announced as $3. `made` has the ids of those that were not there."""
    return f"""
made AS (
    INSERT INTO notification (id, user_id, {_SAID}, created_at)
    SELECT id, user_id, {_SAID}, $2 FROM given JOIN {cte} USING (id)
    ON CONFLICT DO NOTHING RETURNING id
),
announced AS (
    INSERT INTO outbox (event_id, type, data, occurred_at)
    SELECT event_id, $3, event, $2 FROM made JOIN given USING (id)
)
    """  # noqa: S608  -- constants


# As `notifications.create`, in a fifth of the round trips: somebody waits for it. Running it twice does no harm.
_PUT = f"""
WITH given AS (
    SELECT * FROM json_to_recordset($1::json) AS each({RECORD}, own bool)
),
known AS (
    SELECT id FROM given WHERE own OR EXISTS (SELECT FROM profile WHERE profile.user_id = given.user_id)
),
{putting("known")}
SELECT given.id, known.id IS NOT NULL AS known, made.id IS NOT NULL AS new
FROM given LEFT JOIN known USING (id) LEFT JOIN made USING (id)
"""  # noqa: S608  -- constants
Show = Callable[[Notification], None]
"""Shows a new notification to whoever has the inbox open."""
Outcome = Notification | str | Exception
Rows = Mapping[UUID | None, Notification]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Item:
    draft: Draft
    own: bool


class Inboxes:
    """`create` answers when the notification is in its inbox, or with the code of what keeps it out."""

    def __init__(self, db: Database, lanes: Lanes, ask: Ask, show: Show, *, clock: Clock) -> None:
        self._db = db
        self._lanes = lanes
        self._ask = ask
        self._show = show
        self._clock = clock
        self._writes: Batches[_Item, Outcome] = Batches(self._write, most=_MOST)

    async def run(self) -> None:
        await self._writes.run()

    async def create(self, draft: Draft, *, own: bool = False) -> Notification | str:
        """One that was there already changes nothing, and is told to nobody. Raises what the database has raised.

        `own`: it is the reader who asks for it, and so nobody has to prove that there is such a user.
        """
        given = draft if draft.id else replace(draft, id=uuid7())
        outcome = await self._writes.put(_Item(given, own))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _write(self, items: Sequence[_Item]) -> Sequence[Outcome]:
        now = self._clock.now()
        rows = {each.draft.id: row_of(each.draft, now) for each in items}
        try:
            unknown = await self._put(items, rows, now)
        except Exception as error:  # noqa: BLE001  -- each caller raises it
            return await self._failed(items, error)
        late = await self._write_late(unknown, rows, now) if unknown else {}
        return [late.get(each.draft.id, rows[each.draft.id]) for each in items]

    async def _write_late(self, items: Sequence[_Item], rows: Rows, now: datetime) -> Mapping[UUID | None, Outcome]:
        """Of people of whom auth has to be asked first."""
        try:
            refused = await refusals(self._db, {each.draft.user_id for each in items}, self._ask)
            known = [each for each in items if each.draft.user_id not in refused]
            gone = await self._put(known, rows, now) if known else []
        except Exception as error:  # noqa: BLE001  -- each caller raises it
            outcomes = await self._failed(items, error)
            return {each.draft.id: outcome for each, outcome in zip(items, outcomes, strict=True)}
        refused |= {each.draft.user_id: UNSURE for each in gone}
        return {each.draft.id: refused.get(each.draft.user_id) or rows[each.draft.id] for each in items}

    async def _failed(self, items: Sequence[_Item], error: Exception) -> Sequence[Outcome]:
        """What cannot be stored keeps nothing else out."""
        if isinstance(error, Unavailable) or is_unavailable(error):
            log.warning("inboxes_wait", waiting=len(items), reason=type(error).__name__)
            return [error] * len(items)
        if len(items) == 1:
            return [error]
        return [outcome for each in items for outcome in await self._write([each])]

    async def _put(self, items: Sequence[_Item], rows: Rows, now: datetime) -> list[_Item]:
        """Returns those of people whom we do not know."""
        given = orjson.dumps([_given(each) for each in items], default=str).decode()
        found = {row["id"]: row for row in await self._lanes.fetch(_PUT, given, now, NotificationCreated.type)}
        for each in items:
            if each.draft.id in found and found[each.draft.id]["new"]:
                self._show(rows[each.draft.id])
        if self._db.announce:
            await self._db.announce()
        return [each for each in items if each.draft.id in found and not found[each.draft.id]["known"]]


async def refusals(database: Database, users: set[UUID], ask: Ask) -> dict[UUID, str]:
    """Those who have no inbox, or of whom nobody can say at this moment, with the code of it."""
    async with database.transaction() as db:
        try:
            known, code = await profiles.find(db, users, ask), NO_USER
        except Unavailable:
            # Auth is away. Whom we know get theirs; the others wait for it, and hold up nobody.
            known, code = await profiles.stored(db, users), UNSURE
    return dict.fromkeys(users - known.keys(), code)


def given_of(draft: Draft) -> dict[str, Any]:
    """Of a draft with an id."""
    event = NotificationCreated(notification_id=draft.id, user_id=draft.user_id, category=draft.category)
    key = {"id": draft.id, "user_id": draft.user_id}
    return {**draft.said, **key, "event_id": uuid7(), "event": event.model_dump(mode="json")}


def row_of(draft: Draft, now: datetime) -> Notification:
    """What it is once it is there."""
    return Notification(id=draft.id, user_id=draft.user_id, created_at=now, **draft.said)


def _given(item: _Item) -> dict[str, Any]:
    return {**given_of(item.draft), "own": item.own}
