"""Of whom auth has erased nothing stays here: neither what they got, nor what others were told that they said."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.clock import Clock
from libs.contracts.accounts import UserDeleted
from libs.contracts.events import Event
from libs.db import Database

# Chat and the mail server are a little behind: what they still bring is erased as well.
_WATCH = timedelta(days=2)
_CHUNK = 1000
_LAST_WORD = "account_deleted"

_IN_HANDS = "('claimed', 'sending')"
_WAITING = "('queued', 'retry')"
# A digest that says it is found by it, and goes before.
_LET_GO = f"d.state NOT IN {_IN_HANDS} AND NOT EXISTS (SELECT 1 FROM delivery WHERE id = d.digest_id)"  # noqa: S608  -- constants
# What a worker has in its hands is erased on a later turn; the mail that says goodbye is sent first.
_STEPS = tuple(
    map(
        text,
        (
            f"""
            DELETE FROM delivery WHERE id IN (
                SELECT id FROM delivery WHERE user_id = :user AND state NOT IN {_IN_HANDS}
                    AND NOT (state IN {_WAITING} AND template = '{_LAST_WORD}')
                LIMIT :chunk)
            """,  # noqa: S608  -- constants
            # What customers' programs were told of them.
            f"""
            DELETE FROM delivery WHERE id IN (
                SELECT id FROM delivery WHERE template = 'event' AND variables #>> '{{data,user}}' = :name
                    AND state NOT IN {_IN_HANDS}
                LIMIT :chunk)
            """,  # noqa: S608  -- constants
            # A digest with their words goes as a whole: what it says of others is in their reader's inbox.
            f"""
            DELETE FROM delivery WHERE id IN (
                SELECT digest.id FROM notification AS n JOIN delivery AS d ON d.notification_id = n.id
                JOIN delivery AS digest ON digest.id = d.digest_id
                WHERE n.actor ->> 'id' = :name AND digest.state NOT IN {_IN_HANDS} LIMIT :chunk)
            """,  # noqa: S608  -- constants
            f"""
            DELETE FROM delivery WHERE id IN (
                SELECT d.id FROM notification AS n JOIN delivery AS d ON d.notification_id = n.id
                WHERE n.actor ->> 'id' = :name AND {_LET_GO} LIMIT :chunk)
            """,  # noqa: S608  -- constants
            f"""
            DELETE FROM notification WHERE id IN (
                SELECT n.id FROM notification AS n WHERE n.actor ->> 'id' = :name AND NOT EXISTS (
                    SELECT 1 FROM delivery AS d WHERE notification_id = n.id AND NOT ({_LET_GO}))
                LIMIT :chunk)
            """,  # noqa: S608  -- constants
            "DELETE FROM notification WHERE id IN (SELECT id FROM notification WHERE user_id = :user LIMIT :chunk)",
            # Audiences are held first, as by whoever changes one: what they count stays true.
            """
            WITH held AS (
                SELECT id FROM audience
                WHERE id IN (SELECT audience_id FROM audience_member WHERE user_id = :user LIMIT :chunk)
                ORDER BY id FOR UPDATE
            ),
            gone AS (
                DELETE FROM audience_member USING held WHERE audience_id = held.id AND user_id = :user
                RETURNING audience_id
            )
            UPDATE audience SET valid = valid - many, total = total - many
            FROM (SELECT audience_id, count(*) AS many FROM gone GROUP BY audience_id) AS fewer
            WHERE id = audience_id
            """,
            "DELETE FROM idempotency_key WHERE owner_id = :user",
            "DELETE FROM preference WHERE user_id = :user",
            # The address goes on getting nothing, and nobody knows whose it was.
            "UPDATE suppression SET user_id = NULL WHERE user_id = :user",
            "DELETE FROM quiet_hours WHERE user_id = :user",
            "DELETE FROM device WHERE user_id = :user",
            "DELETE FROM digest WHERE user_id = :user",
            "DELETE FROM profile WHERE user_id = :user",
        ),
    )
)
_ASK = text("INSERT INTO erasure (user_id, asked_at) VALUES (:user, :at) ON CONFLICT DO NOTHING")
_ASKED = text("SELECT user_id FROM erasure ORDER BY asked_at")
_FORGET = text("DELETE FROM erasure WHERE asked_at < :before")


async def on_deleted(db: AsyncSession, data: UserDeleted, event: Event) -> None:
    await db.execute(_ASK, {"user": data.user_id, "at": event.occurred_at})


async def work(database: Database, clock: Clock) -> None:
    """One turn of the worker: in small transactions, over all whose account was deleted lately."""
    async with database.transaction() as db:
        users = (await db.scalars(_ASKED)).all()
    for user_id in users:
        for step in _STEPS:
            while await _some(database, step, user_id) >= _CHUNK:
                pass
    async with database.transaction() as db:
        await db.execute(_FORGET, {"before": clock.now() - _WATCH})


async def _some(database: Database, step: TextClause, user_id: UUID) -> int:
    values = {"user": user_id, "name": str(user_id), "chunk": _CHUNK}
    async with database.transaction() as db:
        used = {name: value for name, value in values.items() if f":{name}" in step.text}
        count: int = (await db.execute(step, used)).rowcount  # type: ignore[attr-defined]  # of a statement that writes
    return count
