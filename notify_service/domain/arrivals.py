"""What waits for inboxes, and how it comes there.

It is looked at without a lock; what it has become is one statement, which takes the row, puts the notification into its
inbox and settles the delivery. So nothing of it is ever half done: it needs no lease, and whatever breaks, it waits or
has arrived. The fence grows here too: who has looked at a row that was changed meanwhile does nothing to it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import SimpleNamespace
from typing import Any, NamedTuple, cast
from uuid import UUID

import orjson
import structlog
from sqlalchemy import Row

from libs.clock import Clock
from libs.contracts.notifications import NotificationCreated
from libs.db import Database, is_unavailable
from libs.errors import Unavailable
from libs.lanes import Fetch, Lanes
from notify_service.domain import preferences, queue, suppressions
from notify_service.domain.channels import Outcome
from notify_service.domain.channels.inapp import ERRORS, UNSURE
from notify_service.domain.deliveries import Verdict
from notify_service.domain.drafts import Draft
from notify_service.domain.happenings import Listening, told_of
from notify_service.domain.inboxes import RECORD, Show, given_of, putting, refusals, row_of
from notify_service.domain.profiles import Ask
from notify_service.domain.turns import turns
from notify_service.domain.verdicts import Policy, decide

DELIVERED = "delivered"
EXPIRED = "expired"
_AGAIN_SECONDS = 5.0
# The same as `readiness.look`. A content is told once for all its rows, with the first of them.
_DUE = f"""
SELECT d.id, d.fence, d.lane, d.user_id, d.channel, d.address, d.category, d.template, d.batch_id, d.step, d.variables,
    d.secret, d.attempts, d.at_least_once,
    CASE WHEN d.expires_at <= now() THEN '{EXPIRED}'
        WHEN d.category = ANY($5::text[]) THEN NULL
        WHEN EXISTS (SELECT FROM suppression AS s WHERE s.channel = d.channel AND s.address = d.address
            AND s.category IN ('*', d.category) AND (s.until IS NULL OR s.until > now())) THEN '{suppressions.REASON}'
        WHEN EXISTS (SELECT FROM preference AS p WHERE p.user_id = d.user_id AND p.channel = d.channel
            AND p.category IN ('*', d.category) AND NOT p.enabled) THEN '{preferences.REASON}' END AS reason,
    CASE WHEN row_number() OVER (PARTITION BY d.batch_id, d.step ORDER BY d.lane, d.next_at, d.id) > 1 THEN NULL
        WHEN d.step = 0 THEN b.content
        ELSE coalesce(nullif(b.route -> (d.step - 1) -> 'content', 'null'), b.content) END AS content
FROM unnest($2::smallint[], $3::text[], $4::int[]) AS turn(lane, queue, most), LATERAL (
    SELECT * FROM delivery
    WHERE account = $1 AND delivery.lane = turn.lane AND delivery.queue = turn.queue
        AND state IN ('queued', 'retry') AND next_at <= now()
    ORDER BY next_at, id LIMIT turn.most) AS d
LEFT JOIN batch AS b ON b.id = d.batch_id
WHERE b.held IS NOT TRUE
ORDER BY d.lane, d.next_at, d.id
"""  # noqa: S608  -- constants


def _settling(told: str) -> str:
    return f"""
WITH given AS (
    SELECT * FROM json_to_recordset($1::json) AS each({RECORD}, fence int, state text, tried bool, counts bool,
        delay float8, reason text, error_class text, error_code text)
),
known AS (
    SELECT id FROM given
    WHERE state <> '{DELIVERED}' OR EXISTS (SELECT FROM profile WHERE profile.user_id = given.user_id)
),
-- Whoever else has a row at this moment is about to change it.
ours AS (
    SELECT delivery.id FROM delivery JOIN given USING (id) JOIN known USING (id)
    WHERE delivery.fence = given.fence AND delivery.state IN ('queued', 'retry')
        AND NOT EXISTS (SELECT FROM batch WHERE batch.id = delivery.batch_id AND held)
    FOR UPDATE OF delivery SKIP LOCKED
),
settled AS (
    UPDATE delivery SET
        state = given.state, reason = given.reason, error_class = given.error_class, error_code = given.error_code,
        fence = delivery.fence + 1, attempts = attempts + CAST(given.tried AND given.counts AS int),
        next_at = now() + make_interval(secs => given.delay),
        secret = CASE WHEN given.state = 'retry' THEN secret END,
        sent_at = CASE WHEN given.state = '{DELIVERED}' THEN now() END,
        delivered_at = CASE WHEN given.state = '{DELIVERED}' THEN now() END, updated_at = now(),
        -- As where others send: what has failed for good need not be waited for.
        follow_at = CASE WHEN given.state IN ('failed', 'dead', 'suppressed') AND follow_at > now()
            THEN now() ELSE follow_at END
    FROM given JOIN ours USING (id) WHERE delivery.id = given.id
    RETURNING delivery.id, delivery.fence, delivery.state, delivery.reason, delivery.error_code, delivery.template
),
{told}
logged AS (
    INSERT INTO delivery_attempt (delivery_id, fence, at, error_class, error_code, decision)
    SELECT id, settled.fence, now(), given.error_class, given.error_code, settled.state
    FROM given JOIN settled USING (id) WHERE given.tried
    ON CONFLICT DO NOTHING
),
arrived AS (SELECT id FROM settled WHERE state = '{DELIVERED}'),
{putting("arrived")}
SELECT given.id, known.id IS NOT NULL AS known, settled.id IS NOT NULL AS settled, made.id IS NOT NULL AS new
FROM given LEFT JOIN known USING (id) LEFT JOIN settled USING (id) LEFT JOIN made USING (id)
    """  # noqa: S608  -- constants


_SETTLE = _settling(f"told AS ({told_of('settled')}),")
_SETTLE_UNHEARD = _settling("")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Arrival:
    """What becomes of a delivery that waits. With a draft it comes into its inbox."""

    verdict: Verdict
    draft: Draft | None = None


class _Written(NamedTuple):
    """`unknown`: of people whom we do not know; nothing has become of them."""

    verdicts: list[Verdict]
    unknown: list[Arrival]


async def due(fetch: Fetch, account: str, room: int) -> Sequence[Row[Any]]:
    """Of each line its share of the room, in the order in which they shall come. Each as it is claimed elsewhere, with
    the `reason` for which it shall not come, and `content`, which only the first of a batch has."""
    given = turns(await queue.lines_alone(fetch, account, room), room)
    if not given:
        return []
    lines = [lane for lane, _ in given], [name for _, name in given], list(given.values())
    found = await fetch(_DUE, account, *lines, sorted(preferences.CRITICAL))
    return [cast(Row[Any], SimpleNamespace(**{**row, "variables": orjson.loads(row["variables"])})) for row in found]


class Arrivals:
    def __init__(
        self, db: Database, lanes: Lanes, *, ask: Ask, show: Show, listening: Listening, policy: Policy, clock: Clock
    ) -> None:
        self._db = db
        self._lanes = lanes
        self._ask = ask
        self._show = show
        self._listening = listening
        self._policy = policy
        self._clock = clock

    async def settle(self, arrivals: Sequence[Arrival]) -> list[Verdict]:
        """Returns what became of those that nobody else has changed meanwhile. Raises Unavailable."""
        verdicts, unknown = await self._write(arrivals)
        if unknown:
            users = {each.draft.user_id for each in unknown if each.draft}
            codes = await refusals(self._db, users, self._ask)
            verdicts += (await self._write([self._unless_refused(each, codes) for each in unknown])).verdicts
        return verdicts

    def _unless_refused(self, arrival: Arrival, codes: Mapping[UUID, str]) -> Arrival:
        code = codes.get(arrival.draft.user_id) if arrival.draft else None
        if code is None:
            return arrival
        pause = _AGAIN_SECONDS if code == UNSURE else None
        outcome = Outcome(ERRORS[code], code, pause_seconds=pause)
        found = decide(outcome, 1, at_least_once=False, policy=self._policy)
        verdict = replace(arrival.verdict, **asdict(found), error_class=outcome.error, error_code=code)
        return Arrival(verdict)

    async def _write(self, arrivals: Sequence[Arrival]) -> _Written:
        """What cannot be stored keeps nothing else out."""
        try:
            return await self._written(arrivals)
        except Exception as error:
            if isinstance(error, Unavailable) or is_unavailable(error):
                raise
            if len(arrivals) == 1:
                verdict = arrivals[0].verdict
                log.exception("cannot_arrive", delivery_id=str(verdict.id))
                return await self._written([Arrival(replace(verdict, state="dead", reason="fault", tried=False))])
        each = [await self._write([arrival]) for arrival in arrivals]
        return _Written([one for some in each for one in some.verdicts], [one for some in each for one in some.unknown])

    async def _written(self, arrivals: Sequence[Arrival]) -> _Written:
        now = self._clock.now()
        statement = _SETTLE if self._listening.possible else _SETTLE_UNHEARD
        given = orjson.dumps([_given(each) for each in arrivals], default=str).decode()
        found = {row["id"]: row for row in await self._lanes.fetch(statement, given, now, NotificationCreated.type)}
        new = [each.draft for each in arrivals if each.draft and found[each.verdict.id]["new"]]
        for draft in new:
            self._show(row_of(draft, now))
        if new and self._db.announce:
            await self._db.announce()
        return _Written(
            [each.verdict for each in arrivals if found[each.verdict.id]["settled"]],
            [each for each in arrivals if not found[each.verdict.id]["known"]],
        )


def _given(arrival: Arrival) -> dict[str, Any]:
    said = given_of(arrival.draft) if arrival.draft else {}
    return {**said, **asdict(arrival.verdict)}
