"""The life of a delivery.

    collected ──close──> digested (said by another delivery, its digest)
        │ (alone)
        v
    queued ──claim──> claimed ──begin──> sending ──settle──> sent | failed | dead | unknown
      ^                  │                  │                suppressed | expired (not sent, on purpose)
      └───── retry <─────┴──────────────────┘

What comes into our own inboxes goes from `queued` to `delivered` in one step: see `domain.arrivals`.
`claimed` belongs to one worker until its lease ends; nothing has left yet. `sending` says that the first byte may have
left: a row found so after a crash is sent again only if it says `at_least_once`, or if nothing arrives twice on its
channel. Otherwise it is `unknown`, which a person can see. The fence grows with every claim, so a worker that was given
up cannot overwrite its successor.
Times are the database's, the one clock that all workers share.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

import orjson
from sqlalchemy import Select, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.lanes import Fetch
from notify_service.domain.channels import Effect
from notify_service.domain.happenings import told_of
from notify_service.models import Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a claimed delivery. `tried`: something was offered to the provider, so the attempt is logged."""

    id: UUID
    fence: int
    state: str
    tried: bool = True
    counts: bool = True
    """False: the attempt was not the message's fault and is given back."""
    delay: float = 0.0
    reason: str | None = None
    provider_id: str | None = None
    error_class: str | None = None
    error_code: str | None = None
    milliseconds: int | None = None
    effect: Effect | None = None


def _writing(told: str) -> str:
    return f"""
WITH verdict AS (
    SELECT * FROM json_to_recordset($1::json) AS each(
        id uuid, fence int, state text, tried bool, counts bool, delay float8, reason text,
        provider_id text, error_class text, error_code text, milliseconds int)
),
settled AS (
    UPDATE delivery SET
        state = verdict.state, reason = verdict.reason, provider_id = verdict.provider_id,
        error_class = verdict.error_class, error_code = verdict.error_code,
        attempts = attempts - CAST(verdict.tried AND NOT verdict.counts AS int),
        next_at = now() + make_interval(secs => verdict.delay), lease_until = NULL,
        secret = CASE WHEN verdict.state = 'retry' THEN secret END,
        sent_at = CASE WHEN verdict.state = 'sent' THEN now() END, updated_at = now(),
        -- What has failed for good need not be waited for. Without a time nothing follows, or has followed already.
        follow_at = CASE WHEN verdict.state IN ('failed', 'dead', 'suppressed') AND follow_at > now()
            THEN now() ELSE follow_at END
    FROM verdict
    WHERE delivery.id = verdict.id AND (
        (delivery.fence = verdict.fence AND delivery.state IN ('claimed', 'sending'))
        OR (delivery.fence = verdict.fence + 1 AND delivery.state = 'unknown'))
    RETURNING delivery.id, delivery.state, delivery.reason, delivery.error_code, delivery.template
),
{told}
logged AS (
    INSERT INTO delivery_attempt (delivery_id, fence, at, milliseconds, error_class, error_code, decision)
    SELECT id, verdict.fence, now(), milliseconds, verdict.error_class, verdict.error_code, verdict.state
    FROM verdict JOIN settled USING (id) WHERE tried
    ON CONFLICT (delivery_id, fence) DO UPDATE SET
        milliseconds = excluded.milliseconds, error_class = excluded.error_class,
        error_code = excluded.error_code, decision = excluded.decision
),
begun AS (
    UPDATE delivery SET state = 'sending', attempts = attempts + 1, updated_at = now()
    FROM unnest($2::uuid[], $3::int[]) AS ours(our_id, our_fence)
    WHERE id = our_id AND fence = our_fence AND state = 'claimed' AND lease_until > now()
        AND NOT EXISTS (SELECT FROM batch WHERE batch.id = batch_id AND held)
    RETURNING id
)
SELECT id FROM settled UNION ALL SELECT id FROM begun
    """  # noqa: S608  -- constants


_WRITE = _writing(f"told AS ({told_of('settled')}),")
# What nobody listens to is not even asked about: that would be a tenth of what the statement costs.
_WRITE_UNHEARD = _writing("")
_WRITE_OF_MANY = text(
    _WRITE.replace("$1::json", "CAST(:verdicts AS json)")
    .replace("$2::uuid[]", "CAST(:ids AS uuid[])")
    .replace("$3::int[]", "CAST(:fences AS int[])")
)


def visible_to(user_id: UUID) -> Select[Delivery]:
    return select(Delivery).where(Delivery.user_id == user_id)


async def extend(db: AsyncSession, claimed: Sequence[tuple[UUID, int]], lease: float) -> None:
    """Keeps rows that are still being worked on."""
    ids, fences = _columns(claimed)
    await db.execute(
        text(
            """
            UPDATE delivery SET lease_until = now() + make_interval(secs => :lease)
            FROM unnest(CAST(:ids AS uuid[]), CAST(:fences AS int[])) AS ours(our_id, our_fence)
            WHERE id = our_id AND fence = our_fence AND state IN ('claimed', 'sending')
            """
        ),
        {"ids": ids, "fences": fences, "lease": lease},
    )


async def write(db: AsyncSession, verdicts: Sequence[Verdict], begun: Sequence[tuple[UUID, int]]) -> set[UUID]:
    """Writes down how deliveries ended, with their attempts, and that others, by id and fence, are about to leave,
    before their first byte does. Returns those that were still ours.

    A row that became `unknown` because its worker was silent for too long is still settled by that worker, if nobody
    touched it since: knowing beats not knowing.
    """
    ids, fences = _columns(begun)
    return set(await db.scalars(_WRITE_OF_MANY, {"verdicts": _json(verdicts), "ids": ids, "fences": fences}))


async def write_alone(
    fetch: Fetch, verdicts: Sequence[Verdict], begun: Sequence[tuple[UUID, int]], *, heard: bool
) -> set[UUID]:
    """The same as a transaction of its own, in one round trip. Running it twice does no harm: what has been marked and
    is not known to be goes back to the queue. `heard`: whether an endpoint may listen."""
    statement = _WRITE if heard else _WRITE_UNHEARD
    return {row["id"] for row in await fetch(statement, _json(verdicts), *_columns(begun))}


async def reap(db: AsyncSession, *, max_attempts: int, ours: Collection[str] = ()) -> int:
    """Frees rows whose worker did not come back before the end of their lease. Returns how many. `ours`: channels on
    which nothing arrives twice, however often it is sent."""
    result = await db.execute(
        text(
            f"""
            WITH lost AS (
                SELECT id, state AS was FROM delivery
                WHERE state IN ('claimed', 'sending') AND lease_until < now()
                ORDER BY lease_until LIMIT 1000 FOR UPDATE SKIP LOCKED
            ),
            judged AS (
                SELECT lost.id, was, CASE
                    WHEN was = 'claimed' THEN 'retry'
                    WHEN NOT at_least_once AND channel <> ALL(:ours) THEN 'unknown'
                    WHEN attempts >= :max_attempts THEN 'dead'
                    ELSE 'retry' END AS verdict
                FROM lost JOIN delivery USING (id)
            ),
            freed AS (
                UPDATE delivery SET state = verdict, fence = fence + 1, lease_until = NULL, next_at = now(),
                    updated_at = now(), reason = CASE WHEN verdict <> 'retry' THEN 'worker_lost' END,
                    error_class = CASE WHEN was = 'sending' THEN 'ambiguous' ELSE error_class END,
                    error_code = CASE WHEN was = 'sending' THEN 'worker_lost' ELSE error_code END,
                    secret = CASE WHEN verdict = 'retry' THEN secret END
                FROM judged WHERE delivery.id = judged.id
                RETURNING delivery.id, fence - 1 AS lost_fence, was, verdict, delivery.state, delivery.reason,
                    delivery.error_code, delivery.template
            ),
            told AS ({told_of("freed")}),
            logged AS (
                INSERT INTO delivery_attempt (delivery_id, fence, at, error_class, error_code, decision)
                SELECT id, lost_fence, now(), 'ambiguous', 'worker_lost', verdict FROM freed WHERE was = 'sending'
            )
            SELECT count(*) FROM freed
            """  # noqa: S608  -- constants
        ),
        {"max_attempts": max_attempts, "ours": list(ours)},
    )
    return int(result.scalar_one())


def _columns(rows: Sequence[tuple[UUID, int]]) -> tuple[list[UUID], list[int]]:
    return [row_id for row_id, _ in rows], [fence for _, fence in rows]


def _json(verdicts: Sequence[Verdict]) -> str:
    return orjson.dumps(verdicts, default=str).decode()
