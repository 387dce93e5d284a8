"""Does what is counted fit what is there? The worker recounts a few members a minute, all of them in turn.

Numbers that are kept beside the rows they count are right because they change in the transaction that changes the rows.
Should one be wrong all the same, this finds it, says so in the log and in a metric that must stay 0, and sets it right
where that cannot take anything away. Each look is one statement and so one moment: nothing that happens meanwhile looks
like a fault.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import unread
from libs.db import Database

SECONDS = 6.0
_STEPS_A_MINUTE = 10
# Of each conversation so many messages in a row are looked at: the newest, or others by chance.
_WINDOW = 200
_FIRST = (UUID(int=0), UUID(int=0))

DRIFT = Counter("parley_chat_unread_drift_total", "Counts that were found wrong. Must stay 0.", ["what"])
CHECKED = Counter("parley_chat_drift_checked_total", "Members whose counts were checked.")

log = structlog.get_logger()


class Check(NamedTuple):
    """`find` gives the conversations of `:ids` in which something is wrong, and how many times; `repair` gets `:id`
    and holds the conversation's row."""

    what: str
    find: str
    repair: str | None = None


_MESSAGES = f"""
    SELECT m.* FROM (
        SELECT id, message_seq,
               CASE WHEN random() < 0.5 THEN message_seq - {_WINDOW} ELSE floor(random() * message_seq) END AS above
        FROM conversation WHERE id = ANY (:ids)
    ) AS w CROSS JOIN LATERAL (
        SELECT * FROM message WHERE conversation_id = w.id
            AND seq > CASE WHEN w.message_seq <= {_WINDOW} THEN 0 ELSE w.above END
        ORDER BY seq LIMIT {_WINDOW}
    ) AS m
"""  # noqa: S608  -- constants


def _top(counter: str, table: str) -> Check:
    """A counter below the rows would give a number twice; one above them means that rows are lost."""
    newest = f"(SELECT max(seq) FROM {table} WHERE conversation_id = c.id)"  # noqa: S608  -- constants
    return Check(
        counter,
        f"SELECT c.id, 1 AS n FROM conversation AS c"  # noqa: S608  -- constants
        f" WHERE c.id = ANY (:ids) AND c.{counter} <> coalesce({newest}, 0)",
        f"UPDATE conversation AS c SET {counter} = greatest({counter}, {newest}) WHERE c.id = :id",  # noqa: S608
    )


_MEMBERS = "(SELECT count(*) FROM member WHERE conversation_id = c.id)"
_REACTIONS = """(
    SELECT jsonb_object_agg(r.emoji, r.n) FROM (
        SELECT emoji, count(*) AS n FROM reaction WHERE conversation_id = m.conversation_id AND message_id = m.id
        GROUP BY emoji
    ) AS r
)"""
_REPLIES = (
    "(SELECT max(thread_seq) FROM message AS r WHERE r.conversation_id = m.conversation_id AND r.thread_root_id = m.id)"
)
_OUT_OF_RANGE = """NOT (
    0 <= m.shown_read_seq AND m.shown_read_seq <= m.last_delivered_seq AND m.last_delivered_seq <= c.message_seq
    AND 0 <= m.last_read_seq AND m.last_read_seq <= m.last_delivered_seq
)"""
_ORPHANED = """NOT EXISTS (
    SELECT 1 FROM message WHERE conversation_id = n.conversation_id AND seq = n.seq AND deleted_at IS NULL
)"""
_WRONGLY_COUNTED = "m.uncounted <> (m.deleted_at IS NOT NULL OR m.thread_only)"
CHECKS = (
    _top("message_seq", "message"),
    _top("event_seq", "event"),
    Check(
        "member_count",
        f"SELECT c.id, 1 AS n FROM conversation AS c WHERE c.id = ANY (:ids) AND c.member_count <> {_MEMBERS}",  # noqa: S608
        f"UPDATE conversation AS c SET member_count = {_MEMBERS} WHERE c.id = :id",  # noqa: S608  -- constants
    ),
    Check(
        "marks",
        "SELECT c.id, count(*) AS n FROM conversation AS c JOIN member AS m ON m.conversation_id = c.id"  # noqa: S608
        f" WHERE c.id = ANY (:ids) AND {_OUT_OF_RANGE} GROUP BY c.id",
        "UPDATE member AS m SET last_read_seq = least(greatest(m.last_read_seq, 0), c.message_seq),"  # noqa: S608
        " last_delivered_seq = least(greatest(m.last_delivered_seq, m.last_read_seq, m.shown_read_seq, 0),"
        " c.message_seq), shown_read_seq = least(greatest(m.shown_read_seq, 0), c.message_seq)"
        f" FROM conversation AS c WHERE c.id = :id AND m.conversation_id = c.id AND {_OUT_OF_RANGE}",
    ),
    Check(
        "uncounted",
        f"SELECT m.conversation_id AS id, count(*) AS n FROM ({_MESSAGES}) AS m WHERE {_WRONGLY_COUNTED} GROUP BY 1",  # noqa: S608
        "UPDATE message AS m SET uncounted = NOT uncounted"  # noqa: S608  -- constants
        f" WHERE m.conversation_id = :id AND {_WRONGLY_COUNTED}",
    ),
    Check(
        "reactions",
        f"SELECT m.conversation_id AS id, count(*) AS n FROM ({_MESSAGES}) AS m"  # noqa: S608  -- constants
        f" WHERE coalesce(m.reactions, '{{}}') <> coalesce({_REACTIONS}, '{{}}') GROUP BY 1",
        f"UPDATE message AS m SET reactions = {_REACTIONS} WHERE m.conversation_id = :id"  # noqa: S608  -- constants
        f" AND coalesce(m.reactions, '{{}}') <> coalesce({_REACTIONS}, '{{}}')",
    ),
    Check(
        "reply_seq",
        f"SELECT m.conversation_id AS id, count(*) AS n FROM ({_MESSAGES}) AS m"  # noqa: S608  -- constants
        f" WHERE m.reply_seq < coalesce({_REPLIES}, 0) GROUP BY 1",
        f"UPDATE message AS m SET reply_seq = {_REPLIES}"  # noqa: S608  -- constants
        f" WHERE m.conversation_id = :id AND m.reply_seq < coalesce({_REPLIES}, 0)",
    ),
    Check(
        "mentions",
        "SELECT n.conversation_id AS id, count(*) AS n FROM member AS m JOIN mention AS n"  # noqa: S608  -- constants
        " ON n.user_id = m.user_id AND n.conversation_id = m.conversation_id"
        f" WHERE m.conversation_id = ANY (:ids) AND {_ORPHANED} GROUP BY 1",
        "DELETE FROM mention AS n USING member AS m WHERE m.conversation_id = :id AND n.user_id = m.user_id"  # noqa: S608
        f" AND n.conversation_id = :id AND {_ORPHANED}",
    ),
    # The sum of all: what people are shown against what they could count themselves. The causes are above.
    Check(
        "unread",
        f"SELECT c.id, count(*) AS n FROM conversation AS c JOIN member AS me ON me.conversation_id = c.id"  # noqa: S608
        f" WHERE c.id = ANY (:ids) AND c.message_seq - me.last_read_seq BETWEEN 1 AND {_WINDOW}"
        f" AND {unread.COUNT} <> (SELECT count(*) FROM message AS m WHERE m.conversation_id = c.id"
        " AND m.seq > me.last_read_seq AND m.deleted_at IS NULL AND NOT m.thread_only AND NOT EXISTS ("
        " SELECT 1 FROM hidden_message AS h"
        " WHERE h.user_id = me.user_id AND h.conversation_id = c.id AND h.message_id = m.id)) GROUP BY c.id",
    ),
)
_NEXT = text(
    "SELECT conversation_id, user_id FROM member WHERE (conversation_id, user_id) > (:conversation, :user)"
    " ORDER BY conversation_id, user_id LIMIT :most"
)


class Auditor:
    def __init__(self, db: Database, members_per_minute: int) -> None:
        self._db = db
        self._most = max(1, members_per_minute // _STEPS_A_MINUTE)
        self._at = _FIRST

    async def step(self) -> bool:
        """Checks the next members, and what their conversations count. False: that was the last of them."""
        async with self._db.transaction() as db:
            values = {"conversation": self._at[0], "user": self._at[1], "most": self._most}
            rows = (await db.execute(_NEXT, values)).all()
        if rows:
            CHECKED.inc(len(rows))
            await audit(self._db, sorted({row.conversation_id for row in rows}))
        self._at = (rows[-1].conversation_id, rows[-1].user_id) if len(rows) == self._most else _FIRST
        return self._at != _FIRST


async def audit(database: Database, conversation_ids: Sequence[UUID]) -> dict[str, int]:
    """What is wrong in these conversations, by kind. It is counted, logged and repaired."""
    found: dict[str, int] = {}
    for check in CHECKS:
        async with database.transaction() as db:
            rows: Sequence[Any] = (await db.execute(text(check.find), {"ids": list(conversation_ids)})).all()
        for row in rows:
            found[check.what] = found.get(check.what, 0) + row.n
            DRIFT.labels(check.what).inc(row.n)
            log.error("drift_found", what=check.what, conversation_id=str(row.id), count=row.n)
            if check.repair is not None:
                async with database.transaction() as db:
                    await _repair(db, check.repair, row.id)
    return found


async def _repair(db: AsyncSession, statement: str, conversation_id: UUID) -> None:
    await db.execute(text("SELECT 1 FROM conversation WHERE id = :id FOR UPDATE"), {"id": conversation_id})
    await db.execute(text(statement), {"id": conversation_id})
