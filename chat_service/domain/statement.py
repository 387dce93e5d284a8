"""The statement that stores plain messages: a batch of any senders in any conversations, in one round trip.

Plain are words, and nothing else. The statement knows no reasons: what it does not store, for whatever reason, goes on
to the statement that does (`rich_statement.py`), and so do conversations in slow mode, whose every message needs one
look more.

Its parts, in the order in which they matter:

`incoming`  the batch, with the sender's membership looked up for each row.
`stored`    what an earlier statement stored under the same `client_msg_id`, however long ago.
`fresh`     what is left and allowed, once per `client_msg_id` even when the batch itself holds it twice.
`numbered`  gap-free numbers, counted up from what the conversation's row says under its lock. The rows are locked in
            the order of their ids (that of `fresh`), so that two batches cannot deadlock, and until the commit: who
            reads a number may be sure that all smaller ones are there.
`confirmed` fails, by dividing by zero, when a sender was removed, blocked or given another role between the look at
            the membership and that lock. The next try sees it. To lock each membership first would cost more than
            all that is written.

`dup` is false for a message found under the very id that the caller made for it: that is the caller's own attempt,
whose answer was lost with the connection.

A racing duplicate that commits while this one waits for the lock raises a unique violation; on the next try it is
found in `stored`. Every look-up of a single row is a LATERAL with LIMIT, which the planner can only run as a look-up in
the one partition.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from chat_service.domain import rights
from chat_service.domain.drafts import Draft


def allowed(may: Callable[[str, str], bool], *, kind: str, role: str) -> str:
    """A rule of `rights` as an expression of SQL."""
    cases = " ".join(
        f"WHEN '{one}' THEN {role} IN ({', '.join(repr(r) for r in rights.ROLES if may(r, one))})"
        for one in ("direct", "group", "channel")
    )
    return f"(CASE {kind} {cases} END)"


def logged(*, now: str) -> str:
    """The rows of what is `numbered` in the log, and those that tell the worker of it."""
    return f"""events AS (
    INSERT INTO event (conversation_id, seq, type, message_id, actor_id, created_at)
    SELECT conversation_id, event_seq, 'message.new', id, sender_id, {now} FROM numbered
),
dispatches AS (
    INSERT INTO dispatch (conversation_id, event_seq) SELECT conversation_id, event_seq FROM numbered
)"""  # noqa: S608  -- constants


# `rows` gives the batch; `place` is the conversation to look into for a row of it, called `i`.
_PLAIN = f"""
WITH incoming AS MATERIALIZED (
    SELECT i.*, m.role, m.barred
    FROM {{rows}} AS i
    LEFT JOIN LATERAL (
        SELECT role, barred FROM member
        WHERE conversation_id = {{place}} AND user_id = i.sender_id LIMIT 1
    ) AS m ON true
),
stored AS MATERIALIZED (
    SELECT i.ord, s.id, s.seq, s.event_seq, s.created_at
    FROM incoming AS i CROSS JOIN LATERAL (
        SELECT id, seq, event_seq, created_at FROM message
        WHERE conversation_id = {{place}} AND sender_id = i.sender_id AND client_msg_id = i.client_msg_id
        LIMIT 1
    ) AS s
    WHERE i.role IS NOT NULL
),
fresh AS MATERIALIZED (
    SELECT DISTINCT ON (conversation_id, sender_id, client_msg_id) *
    FROM incoming
    WHERE NOT barred AND NOT EXISTS (SELECT 1 FROM stored WHERE stored.ord = incoming.ord)
    ORDER BY conversation_id, sender_id, client_msg_id, ord
),
numbered AS MATERIALIZED (
    SELECT i.*,
           l.message_seq + row_number() OVER per_conversation AS seq,
           l.event_seq + row_number() OVER per_conversation AS event_seq
    FROM fresh AS i CROSS JOIN LATERAL (
        SELECT type, status, deleted_at, slow_seconds, event_seq, message_seq FROM conversation
        WHERE id = {{place}} LIMIT 1 FOR UPDATE
    ) AS l
    WHERE l.status = 'active' AND l.deleted_at IS NULL AND l.slow_seconds = 0
        AND {allowed(rights.may_post, kind="l.type", role="i.role")}
    WINDOW per_conversation AS (PARTITION BY i.conversation_id ORDER BY i.ord)
),
counted AS (
    UPDATE conversation AS c SET event_seq = n.event_seq, message_seq = n.seq, last_message_at = $6
    FROM (
        SELECT conversation_id, max(event_seq) AS event_seq, max(seq) AS seq FROM numbered GROUP BY conversation_id
    ) AS n
    WHERE c.id = n.conversation_id
),
messages AS (
    INSERT INTO message
        (conversation_id, id, seq, event_seq, sender_id, client_msg_id, type, content, created_at)
    SELECT conversation_id, id, seq, event_seq, sender_id, client_msg_id, 'text', content, $6 FROM numbered
),
{logged(now="$6")},
senders AS MATERIALIZED (
    SELECT conversation_id, sender_id, role, max(seq) AS seq FROM numbered
    GROUP BY conversation_id, sender_id, role ORDER BY conversation_id, sender_id
),
own_watermark AS (
    UPDATE member AS m
    SET last_read_seq = greatest(m.last_read_seq, i.seq), last_delivered_seq = greatest(m.last_delivered_seq, i.seq),
        last_sent_at = $6
    FROM senders AS i
    WHERE m.conversation_id = {{place}} AND m.user_id = i.sender_id
    RETURNING m.role = i.role AND NOT m.barred AS may
),
confirmed AS MATERIALIZED (
    SELECT 1 / (count(*) = (SELECT count(*) FROM senders))::int AS yes FROM own_watermark WHERE may
)
SELECT i.ord,
       coalesce(s.id, n.id) AS id,
       coalesce(s.seq, n.seq) AS seq,
       coalesce(s.event_seq, n.event_seq) AS event_seq,
       coalesce(s.created_at, $6) AS created_at,
       coalesce(s.id, n.id) <> i.id AS dup,
       p.username, p.display_name, p.avatar_url
FROM confirmed CROSS JOIN incoming AS i
LEFT JOIN stored AS s ON s.ord = i.ord
LEFT JOIN numbered AS n
    ON n.conversation_id = i.conversation_id AND n.sender_id = i.sender_id AND n.client_msg_id = i.client_msg_id
LEFT JOIN LATERAL (
    SELECT username, display_name, avatar_url FROM profile WHERE user_id = i.sender_id LIMIT 1
) AS p ON true
WHERE confirmed.yes = 1
ORDER BY i.ord
"""  # noqa: S608  -- constants
PLAIN = _PLAIN.format(
    rows="""(
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[]) WITH ORDINALITY
            AS u(conversation_id, sender_id, id, client_msg_id, content, ord)
    )""",
    place="i.conversation_id",
)
# PostgreSQL opens the one partition that it needs, instead of all sixteen of each table: a third less for one message.
PLAIN_OF_ONE = _PLAIN.format(
    rows="""(
        SELECT $1::uuid AS conversation_id, u.* FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::text[])
            WITH ORDINALITY AS u(sender_id, id, client_msg_id, content, ord)
    )""",
    place="$1::uuid",
)


def of(batch: Sequence[Draft], now: datetime) -> tuple[str, Sequence[object]]:
    """The statement for a batch, and its values."""
    first = batch[0].conversation_id
    alone = all(draft.conversation_id == first for draft in batch)
    values = (
        first if alone else [draft.conversation_id for draft in batch],
        [draft.sender_id for draft in batch],
        [draft.id for draft in batch],
        [draft.client_msg_id or draft.id for draft in batch],
        [draft.content for draft in batch],
        now,
    )
    return (PLAIN_OF_ONE if alone else PLAIN), values
