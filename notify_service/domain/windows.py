"""Until when a provider takes free text: so long after somebody has written."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from notify_service.domain.channels import CannotRender, Window
from notify_service.domain.content import Content

REASON = "window_closed"
_HEARD = text(
    """
    SELECT asked.address, max(t.last_inbound_at) AS at,
        array_remove(array_agg(CASE asked.address WHEN t.peer THEN t.alias ELSE t.peer END), NULL) AS others
    FROM unnest(CAST(:addresses AS text[])) AS asked(address)
    JOIN thread AS t ON t.account = :account AND (t.peer = asked.address OR t.alias = asked.address)
    GROUP BY asked.address
    """
)
_HEARS = text("SELECT EXISTS (SELECT FROM thread WHERE account = :account)")


@dataclass(frozen=True, slots=True)
class Windows:
    """Of some addresses: who may be answered freely, and to whom no free text may go now.

    An account that has never heard anybody may not be told what people write to it: there the provider decides, and
    nobody is in either.
    """

    opened: frozenset[str] = frozenset()
    closed: frozenset[str] = frozenset()
    others: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By what other addresses the same people are known, as the id beside a phone."""


async def among(
    db: AsyncSession, account: str, window: Window | None, *, addresses: Collection[str], now: datetime
) -> Windows:
    if window is None or not addresses or not await db.scalar(_HEARS, {"account": account}):
        return Windows()
    wanted: Sequence[str] = list(set(addresses))
    rows = (await db.execute(_HEARD, {"account": account, "addresses": wanted})).all()
    opened = frozenset(row.address for row in rows if row.at > now - timedelta(hours=window.hours))
    return Windows(opened, frozenset(wanted) - opened, {row.address: row.others for row in rows if row.others})


def fitting(content: Content, *, is_closed: bool) -> Content:
    """What of a content may go: its template where free text may not, and its free text where it may. Raises
    CannotRender where nothing is left."""
    if content.template is None:
        if is_closed:
            raise CannotRender(REASON)
        return content
    free = content.text or content.media or content.html
    if not free:
        return content
    if is_closed:
        return Content(template=content.template)
    return content.model_copy(update={"template": None})
