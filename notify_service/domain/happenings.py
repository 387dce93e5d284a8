"""What happens, written down for customers' endpoints in the statement, or the transaction, that makes it true.

Only while somebody listens, and whether somebody does is asked by that statement: what happens after an endpoint was
set up cannot be missed, and what nobody hears is not written. Senders alone, whose speed counts, do not even ask while
a look of just now has found nobody. `domain.endpoints` makes messages of it.
"""

import json
import time
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from notify_service.domain.channels.webhook_events import DELIVERY_STATES, EVENT

HEARD = "EXISTS (SELECT FROM account WHERE enabled AND config ? 'events')"
_ENDS = ", ".join(f"'{state}'" for state in (*DELIVERY_STATES, "dead"))
_LOOK_HOLDS_SECONDS = 1.0


class Listening:
    """Whether somebody may listen: everybody does, until a look finds nobody, and soon after it again."""

    def __init__(self) -> None:
        self._nobody_at = -_LOOK_HOLDS_SECONDS

    @property
    def possible(self) -> bool:
        return time.monotonic() - self._nobody_at >= _LOOK_HOLDS_SECONDS

    def found(self, *, somebody: bool, at: float) -> None:
        """What a look has found that began at this time of `time.monotonic`."""
        self._nobody_at = -_LOOK_HOLDS_SECONDS if somebody else at


def told_of(cte: str) -> str:
    """What a statement does besides, whose CTE of this name returns deliveries that have come to another state, with
    `id`, `state`, `reason`, `error_code` and `template`. What says what happened is nothing that happens itself."""
    return f"""
        INSERT INTO happening (type, delivery_id, data, at)
        SELECT 'delivery.' || CASE state WHEN 'dead' THEN 'failed' ELSE state END, id,
            jsonb_strip_nulls(jsonb_build_object('state', state, 'reason', reason, 'code', error_code)), now()
        FROM {cte} WHERE state IN ({_ENDS}) AND template IS DISTINCT FROM '{EVENT}' AND {HEARD}
    """  # noqa: S608  -- constants


_TELL = text(
    f"""
    INSERT INTO happening (type, data, at)
    SELECT CAST(:type AS text), CAST(:data AS jsonb), now() WHERE {HEARD}
    """
)
_DELIVERIES = text(
    f"""
    WITH ended AS (
        SELECT id, state, reason, error_code, template FROM delivery WHERE id = ANY(:ids) ORDER BY id
    )
    {told_of("ended")}
    """  # noqa: S608  -- constants
)


async def tell(db: AsyncSession, event: str, *data: Mapping[str, Any]) -> None:
    """One for each of `data`. `event`: one of `EVENTS`."""
    if data:
        await db.execute(_TELL, [{"type": event, "data": json.dumps(dict(each), default=str)} for each in data])


async def ended(db: AsyncSession, deliveries: Collection[UUID]) -> None:
    """Of deliveries that this transaction has brought to an end."""
    if deliveries:
        await db.execute(_DELIVERIES, {"ids": list(deliveries)})
