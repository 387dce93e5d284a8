"""The one statement that stores messages: a batch of any senders in any conversations, in one round trip.

Its parts, in the order in which they matter:

`incoming`  the batch, with the sender's membership and the quoted message looked up for each row.
`stored`    what an earlier statement stored under the same `client_msg_id`, however long ago.
`fresh`     what is left and allowed, once per `client_msg_id` even when the batch itself holds it twice.
`locked`    the rows of the conversations, locked in the order of their ids, so that two batches cannot deadlock. Held
            until the commit: who reads a number may be sure that all smaller ones are there.
`numbered`  gap-free numbers, counted up from what the lock found.

`dup` is false for a message found under the very id that the caller made for it: that is the caller's own attempt,
whose answer was lost with the connection.

A racing duplicate that commits while this one waits for the lock raises a unique violation; on the next try it is
found in `stored`. Every look-up of a single row is a LATERAL with LIMIT, which the planner can only run as an index
look-up in the one partition: a plan made while the tables were small stays good when they are not.
"""

BATCH = """
WITH incoming AS MATERIALIZED (
    SELECT i.ord, i.conversation_id, i.sender_id, i.id, i.client_msg_id, i.content, i.reply_to,
           m.role, q.seq AS quoted_seq, q.sender_id AS quoted_sender, q.excerpt AS quoted_excerpt
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::uuid[]) WITH ORDINALITY
        AS i(conversation_id, sender_id, id, client_msg_id, content, reply_to, ord)
    LEFT JOIN LATERAL (
        SELECT role FROM member WHERE conversation_id = i.conversation_id AND user_id = i.sender_id LIMIT 1
    ) AS m ON true
    LEFT JOIN LATERAL (
        SELECT seq, sender_id, left(content, 200) AS excerpt FROM message
        WHERE i.reply_to IS NOT NULL AND conversation_id = i.conversation_id AND id = i.reply_to LIMIT 1
    ) AS q ON true
),
stored AS MATERIALIZED (
    SELECT i.ord, s.id, s.seq, s.event_seq, s.created_at
    FROM incoming AS i CROSS JOIN LATERAL (
        SELECT id, seq, event_seq, created_at FROM message
        WHERE conversation_id = i.conversation_id AND sender_id = i.sender_id AND client_msg_id = i.client_msg_id
        LIMIT 1
    ) AS s
    WHERE i.role IS NOT NULL
),
fresh AS MATERIALIZED (
    SELECT DISTINCT ON (conversation_id, sender_id, client_msg_id) *
    FROM incoming
    WHERE role IS NOT NULL AND (reply_to IS NULL OR quoted_seq IS NOT NULL)
        AND NOT EXISTS (SELECT 1 FROM stored WHERE stored.ord = incoming.ord)
    ORDER BY conversation_id, sender_id, client_msg_id, ord
),
locked AS MATERIALIZED (
    SELECT id, type, status, event_seq, message_seq FROM conversation
    WHERE id = ANY (ARRAY(SELECT conversation_id FROM fresh))
    ORDER BY id FOR UPDATE
),
numbered AS MATERIALIZED (
    SELECT f.*,
           l.message_seq + row_number() OVER per_conversation AS seq,
           l.event_seq + row_number() OVER per_conversation AS event_seq
    FROM fresh AS f JOIN locked AS l ON l.id = f.conversation_id
    WHERE l.status = 'active' AND (l.type <> 'channel' OR f.role IN ('owner', 'admin'))
    WINDOW per_conversation AS (PARTITION BY f.conversation_id ORDER BY f.ord)
),
counted AS (
    UPDATE conversation AS c SET event_seq = n.event_seq, message_seq = n.seq, last_message_at = $7
    FROM (
        SELECT conversation_id, max(event_seq) AS event_seq, max(seq) AS seq FROM numbered GROUP BY conversation_id
    ) AS n
    WHERE c.id = n.conversation_id
),
messages AS (
    INSERT INTO message
        (conversation_id, id, seq, event_seq, sender_id, client_msg_id, type, content, reply_to, created_at)
    SELECT conversation_id, id, seq, event_seq, sender_id, client_msg_id, 'text', content, reply_to, $7 FROM numbered
),
events AS (
    INSERT INTO event (conversation_id, seq, type, message_id, actor_id, created_at)
    SELECT conversation_id, event_seq, 'message.new', id, sender_id, $7 FROM numbered
),
dispatches AS (
    INSERT INTO dispatch (conversation_id, event_seq) SELECT conversation_id, event_seq FROM numbered
),
own_watermark AS (
    UPDATE member AS m SET last_read_seq = greatest(m.last_read_seq, n.seq)
    FROM (
        SELECT conversation_id, sender_id, max(seq) AS seq FROM numbered GROUP BY conversation_id, sender_id
    ) AS n
    WHERE m.conversation_id = n.conversation_id AND m.user_id = n.sender_id
)
SELECT i.ord, i.role IS NOT NULL AS member,
       i.reply_to IS NULL OR i.quoted_seq IS NOT NULL AS quotable,
       coalesce(s.id, n.id) AS id,
       coalesce(s.seq, n.seq) AS seq,
       coalesce(s.event_seq, n.event_seq) AS event_seq,
       coalesce(s.created_at, $7) AS created_at,
       coalesce(s.id, n.id) <> i.id AS dup,
       i.quoted_seq, i.quoted_sender, i.quoted_excerpt,
       p.username, p.display_name, p.avatar_url
FROM incoming AS i
LEFT JOIN stored AS s ON s.ord = i.ord
LEFT JOIN numbered AS n
    ON n.conversation_id = i.conversation_id AND n.sender_id = i.sender_id AND n.client_msg_id = i.client_msg_id
LEFT JOIN LATERAL (
    SELECT username, display_name, avatar_url FROM profile WHERE user_id = i.sender_id LIMIT 1
) AS p ON true
ORDER BY i.ord
"""
