"""The statement for messages that carry more than words, and for those that the plain one did not store.

It is the plain one (`statement.py`) with every reason to refuse, each under its name, and with what a message can
carry. What another process may be changing at this moment is read under a lock, after the lock of the conversation: the
sender's last message (`senders`), how long a thread is (`roots`), whether a file is still free (`files`). A lock that
had to be waited for gives the row as it is by then.

`judged`    why a draft is refused, or null.
`paced`     the seconds that its sender still has to wait.
`numbered`  what is left, with gap-free numbers in the conversation and in its thread.
"""

from collections.abc import Sequence
from datetime import datetime

from chat_service.domain import frames, rights
from chat_service.domain.drafts import NOBODY, NOTHING, Draft
from chat_service.domain.statement import allowed, logged

_MAY_POST = allowed(rights.may_post, kind="l.type", role="s.role")
_MAY_MENTION_ALL = allowed(rights.may_mention_all, kind="l.type", role="s.role")
_WAITS = allowed(lambda role, _kind: rights.waits(role), kind="l.type", role="s.role")
_SHOWN = """jsonb_build_object(
    'id', id, 'name', name, 'content_type', content_type, 'kind', kind, 'size', size, 'width', width, 'height', height,
    'url', '/api/v1/attachments/' || id,
    'thumbnail_url', CASE WHEN thumbnail_key IS NOT NULL THEN '/api/v1/attachments/' || id || '/thumbnail' END
)"""

RICH = f"""
WITH incoming AS MATERIALIZED (
    SELECT i.*, m.role, q.seq AS quoted_seq, q.sender_id AS quoted_sender, q.excerpt AS quoted_excerpt,
           q.deleted AS quoted_deleted
    FROM unnest(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::uuid[], $7::text[], $8::uuid[], $9::bool[],
        $10::text[], $11::bool[], $12::int[], $13::int[], $14::text[], $15::text[], $16::text[], $17::float8[]
    ) WITH ORDINALITY AS i(
        conversation_id, sender_id, id, client_msg_id, content, reply_to, type, root_id, also,
        mentions, reaches_all, named, files, importance, priority, forwarded_from, gap, ord
    )
    LEFT JOIN LATERAL (
        SELECT role, joined_seq FROM member
        WHERE conversation_id = i.conversation_id AND user_id = i.sender_id LIMIT 1
    ) AS m ON true
    LEFT JOIN LATERAL (
        SELECT seq, sender_id, left(content, 200) AS excerpt, deleted_at IS NOT NULL AS deleted FROM message
        WHERE i.reply_to IS NOT NULL AND conversation_id = i.conversation_id AND id = i.reply_to
            AND (seq > m.joined_seq OR EXISTS (
                SELECT 1 FROM conversation WHERE id = i.conversation_id AND history = 'all'))
        LIMIT 1
    ) AS q ON true
),
stored AS MATERIALIZED (
    SELECT i.ord, s.*
    FROM incoming AS i CROSS JOIN LATERAL (
        SELECT id, seq, event_seq, created_at, type, thread_seq, attachments FROM message
        WHERE conversation_id = i.conversation_id AND sender_id = i.sender_id AND client_msg_id = i.client_msg_id
        LIMIT 1
    ) AS s
    WHERE i.role IS NOT NULL
),
fresh AS MATERIALIZED (
    SELECT DISTINCT ON (conversation_id, sender_id, client_msg_id) *
    FROM incoming
    WHERE role IS NOT NULL AND NOT EXISTS (SELECT 1 FROM stored WHERE stored.ord = incoming.ord)
    ORDER BY conversation_id, sender_id, client_msg_id, ord
),
locked AS MATERIALIZED (
    SELECT id, type, status, deleted_at, event_seq, message_seq, member_count, slow_seconds, history,
           allow_file_sharing, allow_voice_messages
    FROM conversation
    WHERE id = ANY (ARRAY(SELECT conversation_id FROM fresh))
    ORDER BY id FOR UPDATE
),
senders AS MATERIALIZED (
    SELECT s.conversation_id, s.sender_id, m.role, m.barred, m.joined_seq, m.last_sent_at,
           CASE WHEN l.history = 'all' THEN 0 ELSE m.joined_seq END AS above
    FROM (SELECT DISTINCT conversation_id, sender_id FROM fresh) AS s
    JOIN locked AS l ON l.id = s.conversation_id
    CROSS JOIN LATERAL (
        SELECT role, barred, last_sent_at, joined_seq FROM member WHERE conversation_id = l.id AND user_id = s.sender_id
        LIMIT 1 FOR UPDATE
    ) AS m
),
roots AS MATERIALIZED (
    SELECT s.conversation_id, s.root_id, r.seq, r.reply_seq, r.sender_id
    FROM (SELECT DISTINCT conversation_id, root_id FROM fresh WHERE root_id IS NOT NULL) AS s
    JOIN locked AS l ON l.id = s.conversation_id
    CROSS JOIN LATERAL (
        SELECT seq, reply_seq, sender_id FROM message
        WHERE conversation_id = l.id AND id = s.root_id AND thread_root_id IS NULL AND deleted_at IS NULL
        LIMIT 1 FOR UPDATE
    ) AS r
),
files AS MATERIALIZED (
    SELECT w.ord, w.place, a.*
    FROM (
        SELECT f.ord, w.place, w.id, f.conversation_id, f.sender_id
        FROM unnest($18::int[], $19::uuid[]) WITH ORDINALITY AS w(ord, id, place) JOIN fresh AS f ON f.ord = w.ord
        ORDER BY w.id
    ) AS w
    JOIN locked AS l ON l.id = w.conversation_id
    CROSS JOIN LATERAL (
        SELECT id, name, content_type, kind, size, width, height, thumbnail_key FROM attachment
        WHERE id = w.id AND owner_id = w.sender_id AND message_id IS NULL AND released_at IS NULL
          AND w.conversation_id = l.id
        LIMIT 1 FOR UPDATE
    ) AS a
),
carried AS MATERIALIZED (
    SELECT ord, count(*) AS files, bool_or(kind = 'audio') AS voice, (array_agg(kind ORDER BY place))[1] AS kind,
           array_agg(id) AS ids, jsonb_agg({_SHOWN} ORDER BY place) AS shown
    FROM (SELECT *, row_number() OVER (PARTITION BY id ORDER BY ord) AS claim FROM files) AS f
    WHERE claim = 1
    GROUP BY ord
),
named AS MATERIALIZED (
    SELECT f.ord, m.user_id
    FROM unnest($20::int[], $21::uuid[]) AS w(ord, user_id) JOIN fresh AS f ON f.ord = w.ord
    CROSS JOIN LATERAL (
        SELECT user_id FROM member WHERE conversation_id = f.conversation_id AND user_id = w.user_id LIMIT 1
    ) AS m
),
judged AS MATERIALIZED (
    SELECT f.*, coalesce(f.type, c.kind, 'text') AS kind, c.ids AS file_ids, c.shown, r.reply_seq,
           r.sender_id AS root_sender, s.last_sent_at, l.message_seq, l.event_seq AS last_event,
           f.root_id IS NOT NULL AND NOT f.also AS aside,
           greatest(
               f.gap, CASE WHEN {_WAITS} THEN l.slow_seconds ELSE 0 END
           ) AS pause,
           CASE
               WHEN s.role IS NULL OR l.deleted_at IS NOT NULL THEN 'gone'
               WHEN l.status <> 'active' OR s.barred OR NOT {_MAY_POST} THEN 'cannot_post'
               WHEN f.reply_to IS NOT NULL AND coalesce(f.quoted_seq, 0) <= s.above THEN 'reply_to'
               WHEN f.root_id IS NOT NULL AND coalesce(r.seq, 0) <= s.above THEN 'thread_root_id'
               WHEN f.files > 0 AND NOT l.allow_file_sharing THEN 'files_not_allowed'
               WHEN f.files <> coalesce(c.files, 0) THEN 'attachments'
               WHEN c.voice AND NOT l.allow_voice_messages THEN 'voice_not_allowed'
               WHEN f.files > 0 AND f.type NOT IN (c.kind, 'file') THEN 'message_type'
               WHEN f.named <> (SELECT count(*) FROM named AS n WHERE n.ord = f.ord) THEN 'mentions'
               WHEN f.reaches_all AND NOT {_MAY_MENTION_ALL} THEN 'may_not_mention_all'
               WHEN f.reaches_all AND l.member_count > $23 THEN 'too_many_to_mention'
           END AS refusal
    FROM fresh AS f
    LEFT JOIN locked AS l ON l.id = f.conversation_id
    LEFT JOIN senders AS s ON s.conversation_id = f.conversation_id AND s.sender_id = f.sender_id
    LEFT JOIN roots AS r ON r.conversation_id = f.conversation_id AND r.root_id = f.root_id
    LEFT JOIN carried AS c ON c.ord = f.ord
),
paced AS MATERIALIZED (
    SELECT j.*,
           CASE
               WHEN pause <= 0 THEN 0
               WHEN row_number() OVER (PARTITION BY conversation_id, sender_id ORDER BY ord) > 1 THEN pause
               ELSE least(pause, coalesce(pause - extract(epoch FROM $22 - last_sent_at), 0))
           END AS wait
    FROM judged AS j WHERE refusal IS NULL
),
numbered AS MATERIALIZED (
    SELECT p.*,
           p.message_seq + row_number() OVER per_conversation AS seq,
           p.last_event + row_number() OVER per_conversation AS event_seq,
           p.reply_seq + row_number() OVER per_thread AS thread_seq
    FROM paced AS p WHERE wait <= 0
    WINDOW per_conversation AS (PARTITION BY p.conversation_id ORDER BY p.ord),
           per_thread AS (PARTITION BY p.conversation_id, p.root_id ORDER BY p.ord)
),
counted AS (
    UPDATE conversation AS c
    SET event_seq = n.event_seq, message_seq = n.seq,
        last_message_at = CASE WHEN n.shown THEN $22 ELSE c.last_message_at END
    FROM (
        SELECT conversation_id, max(event_seq) AS event_seq, max(seq) AS seq, bool_or(NOT aside) AS shown
        FROM numbered GROUP BY conversation_id
    ) AS n
    WHERE c.id = n.conversation_id
),
messages AS (
    INSERT INTO message
        (conversation_id, id, seq, event_seq, sender_id, client_msg_id, type, content, reply_to, thread_root_id,
         thread_seq, thread_only, uncounted, importance, priority, attachments, mentions, forwarded_from, created_at)
    SELECT conversation_id, id, seq, event_seq, sender_id, client_msg_id, kind, content, reply_to, root_id,
           thread_seq, aside, aside, importance, priority, shown, mentions::jsonb, forwarded_from::jsonb, $22
    FROM numbered
),
{logged(now="$22")},
own_watermark AS (
    UPDATE member AS m
    SET last_read_seq = greatest(m.last_read_seq, n.seq), last_delivered_seq = greatest(m.last_delivered_seq, n.seq),
        last_sent_at = $22
    FROM (
        SELECT conversation_id, sender_id, max(seq) FILTER (WHERE NOT aside) AS seq
        FROM numbered GROUP BY conversation_id, sender_id
    ) AS n
    WHERE m.conversation_id = n.conversation_id AND m.user_id = n.sender_id
),
claimed AS (
    UPDATE attachment AS a SET conversation_id = n.conversation_id, message_id = n.id
    FROM (SELECT conversation_id, id, unnest(file_ids) AS file_id FROM numbered WHERE files > 0) AS n
    WHERE a.id = n.file_id
),
lengths AS (
    UPDATE message AS m SET reply_seq = n.thread_seq, last_reply_at = $22
    FROM (
        SELECT conversation_id, root_id, max(thread_seq) AS thread_seq FROM numbered WHERE root_id IS NOT NULL
        GROUP BY conversation_id, root_id
    ) AS n
    WHERE m.conversation_id = n.conversation_id AND m.id = n.root_id
),
mentioned AS (
    INSERT INTO mention (user_id, conversation_id, seq)
    SELECT w.user_id, n.conversation_id, n.seq FROM numbered AS n JOIN named AS w ON w.ord = n.ord
    WHERE w.user_id <> n.sender_id
),
repliers AS (
    INSERT INTO thread_member (conversation_id, root_id, user_id, following, last_read_seq)
    SELECT conversation_id, root_id, sender_id, true, max(thread_seq) FROM numbered WHERE root_id IS NOT NULL
    GROUP BY conversation_id, root_id, sender_id
    ON CONFLICT (conversation_id, root_id, user_id) DO UPDATE
    SET following = true, last_read_seq = greatest(thread_member.last_read_seq, EXCLUDED.last_read_seq)
),
concerned AS MATERIALIZED (
    SELECT n.conversation_id, n.root_id, w.user_id, min(n.thread_seq) AS thread_seq
    FROM numbered AS n JOIN named AS w ON w.ord = n.ord
    WHERE n.root_id IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM numbered AS o
        WHERE o.conversation_id = n.conversation_id AND o.root_id = n.root_id AND o.sender_id = w.user_id
    )
    GROUP BY n.conversation_id, n.root_id, w.user_id
),
drawn_in AS (
    INSERT INTO thread_member (conversation_id, root_id, user_id, following, last_read_seq)
    SELECT conversation_id, root_id, user_id, true, thread_seq - 1 FROM concerned
    ON CONFLICT (conversation_id, root_id, user_id) DO UPDATE SET following = true
),
authors AS (
    INSERT INTO thread_member (conversation_id, root_id, user_id, following)
    SELECT n.conversation_id, n.root_id, n.root_sender, true FROM numbered AS n
    WHERE n.thread_seq = 1 AND NOT EXISTS (
        SELECT 1 FROM numbered AS o
        WHERE o.conversation_id = n.conversation_id AND o.root_id = n.root_id AND o.sender_id = n.root_sender
    ) AND NOT EXISTS (
        SELECT 1 FROM concerned AS o
        WHERE o.conversation_id = n.conversation_id AND o.root_id = n.root_id AND o.user_id = n.root_sender
    ) AND EXISTS (SELECT 1 FROM member WHERE conversation_id = n.conversation_id AND user_id = n.root_sender)
    ON CONFLICT DO NOTHING
)
SELECT i.ord,
       CASE WHEN i.role IS NULL THEN 'gone' ELSE j.refusal END AS refusal,
       p.wait,
       coalesce(s.id, n.id) AS id,
       coalesce(s.seq, n.seq) AS seq,
       coalesce(s.event_seq, n.event_seq) AS event_seq,
       coalesce(s.created_at, $22) AS created_at,
       coalesce(s.id, n.id) <> i.id AS dup,
       coalesce(s.type, n.kind) AS type,
       coalesce(s.thread_seq, n.thread_seq) AS thread_seq,
       coalesce(s.attachments, n.shown)::text AS attachments,
       i.quoted_seq, i.quoted_sender, i.quoted_excerpt, i.quoted_deleted,
       who.username, who.display_name, who.avatar_url
FROM incoming AS i
LEFT JOIN stored AS s ON s.ord = i.ord
LEFT JOIN judged AS j
    ON j.conversation_id = i.conversation_id AND j.sender_id = i.sender_id AND j.client_msg_id = i.client_msg_id
LEFT JOIN paced AS p ON p.ord = j.ord
LEFT JOIN numbered AS n ON n.ord = j.ord
LEFT JOIN LATERAL (
    SELECT username, display_name, avatar_url FROM profile WHERE user_id = i.sender_id LIMIT 1
) AS who ON true
ORDER BY i.ord
"""  # noqa: S608  -- constants


def values(batch: Sequence[Draft], now: datetime, mention_all_max: int) -> tuple[object, ...]:
    all_extras = [draft.extras or NOTHING for draft in batch]
    files = [(ord_, one) for ord_, extras in enumerate(all_extras, 1) for one in extras.attachments]
    people = [(ord_, one) for ord_, extras in enumerate(all_extras, 1) for one in extras.mentions.user_ids]
    return (
        [draft.conversation_id for draft in batch],
        [draft.sender_id for draft in batch],
        [draft.id for draft in batch],
        [draft.client_msg_id or draft.id for draft in batch],
        [draft.content for draft in batch],
        [draft.reply_to for draft in batch],
        [extras.message_type for extras in all_extras],
        [extras.thread_root_id for extras in all_extras],
        [extras.also_in_conversation for extras in all_extras],
        [_json(e.mentions.shown()) if e.mentions != NOBODY else None for e in all_extras],
        [extras.mentions.all or extras.mentions.here for extras in all_extras],
        [len(extras.mentions.user_ids) for extras in all_extras],
        [len(extras.attachments) for extras in all_extras],
        [extras.importance for extras in all_extras],
        [extras.priority for extras in all_extras],
        [_json(e.forwarded_from) if e.forwarded_from is not None else None for e in all_extras],
        [extras.gap_seconds for extras in all_extras],
        [ord_ for ord_, _ in files],
        [one for _, one in files],
        [ord_ for ord_, _ in people],
        [one for _, one in people],
        now,
        mention_all_max,
    )


def _json(value: object) -> str:
    return frames.dump(value).decode()
