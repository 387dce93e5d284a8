"""What a provider's refusal says beyond the message that it was given for."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from notify_service.domain.channels import Effect
from notify_service.domain.happenings import HEARD
from notify_service.domain.suppressions import ALL

MARKETING = "marketing"
PROVIDER = "provider"
# A mailbox that is full, or a server that is away, may be there again tomorrow. After so many messages within so many
# days nobody tries it for a while; what it costs is the good name of the sender.
_SOFT_MOST, _SOFT_DAYS, _SOFT_REST_DAYS = 5, 7, 30


def _telling(event: str, change: str) -> TextClause:
    """A change of suppressions, which endpoints hear of: of those that it makes, or takes back."""
    return text(
        f"""
        WITH changed AS ({change})
        INSERT INTO happening (type, data, at)
        SELECT '{event}', jsonb_build_object(
            'channel', channel, 'address', address, 'category', category, 'reason', reason), now()
        FROM changed WHERE is_news AND {HEARD}
        """  # noqa: S608  -- constants
    )


_SUPPRESS = _telling(
    "recipient.unsubscribed",
    """
    INSERT INTO suppression AS s (channel, address, category, reason, created_at)
    SELECT DISTINCT channel, address, CAST(:category AS text), :reason, now() FROM delivery WHERE id = ANY(:ids)
    ORDER BY channel, address
    ON CONFLICT (channel, address, category) DO UPDATE SET until = NULL
    RETURNING s.channel, s.address, s.category, s.reason, s.xmax = 0 AS is_news
    """,
)
_ASKED = _telling(
    "recipient.unsubscribed",
    """
    INSERT INTO suppression AS s (channel, address, category, reason, created_at)
    SELECT channel, :address, :category, :reason, now() FROM account WHERE name = :account
    ON CONFLICT (channel, address, category) DO UPDATE SET until = NULL
    RETURNING s.channel, s.address, s.category, s.reason, s.xmax = 0 AS is_news
    """,
)
# What somebody has asked for elsewhere, or staff has set, is not the provider's to take back.
_LIFT = _telling(
    "recipient.resubscribed",
    """
    DELETE FROM suppression AS s USING account
    WHERE account.name = :account AND s.channel = account.channel AND address = ANY(:addresses)
        AND category = :category AND reason = 'provider'
    RETURNING s.channel, s.address, s.category, s.reason, true AS is_news
    """,
)
# Who registers the address again is told there again.
_GONE = text(
    """
    DELETE FROM device WHERE id IN (
        SELECT device.id FROM device JOIN delivery USING (channel, address) WHERE delivery.id = ANY(:ids)
        ORDER BY device.id FOR UPDATE OF device)
    """
)
_HOLD = text(
    """
    UPDATE batch SET held = true, hold_reason = 'refused' WHERE NOT held AND id IN (
        SELECT batch_id FROM delivery WHERE id = ANY(:ids) AND batch_id IS NOT NULL)
    """
)
_TIRED = text(
    """
    INSERT INTO suppression AS s (channel, address, category, reason, until, created_at)
    SELECT channel, address, CAST(:category AS text), 'bounce', now() + make_interval(days => :rest), now()
    FROM (SELECT DISTINCT channel, address FROM delivery WHERE id = ANY(:ids)) AS came_back
    WHERE :most <= (
        SELECT count(*) FROM delivery AS d WHERE d.channel = came_back.channel AND d.address = came_back.address
            AND d.state = 'failed' AND d.error_class = 'transient'
            AND d.updated_at > now() - make_interval(days => :days))
    ORDER BY channel, address
    ON CONFLICT (channel, address, category) DO UPDATE SET until = greatest(s.until, excluded.until)
        WHERE s.until IS NOT NULL
    """
)


async def apply(db: AsyncSession, found: Iterable[tuple[UUID, Effect]], reason: str = PROVIDER) -> None:
    """For deliveries, by id. `reason`: of the suppressions that this makes."""
    pairs = list(found)
    for effect, (statement, values) in _statements(reason).items():
        ids = [delivery for delivery, each in pairs if each is effect]
        if ids:
            await db.execute(statement, {**values, "ids": ids})
        if ids and effect is Effect.SUPPRESS:
            await db.execute(_GONE, {"ids": ids})


async def suppress(
    db: AsyncSession, account: str, address: str, effect: Effect, *, reason: str = "unsubscribe"
) -> None:
    """For somebody who has told an account that they want no more of it, or no marketing."""
    values = {"account": account, "address": address, "category": _category(effect), "reason": reason}
    await db.execute(_ASKED, values)


async def lift(db: AsyncSession, account: str, addresses: Sequence[str], effect: Effect) -> None:
    """For somebody who is back: takes away what the provider itself had told."""
    await db.execute(_LIFT, {"account": account, "addresses": list(addresses), "category": _category(effect)})


def _category(effect: Effect) -> str:
    return ALL if effect is Effect.SUPPRESS else MARKETING


async def rest(db: AsyncSession, ids: Collection[UUID]) -> None:
    """For deliveries that came back though their addresses are not dead: those to which this happens too often get
    nothing for a while. However often it is told, a message counts once."""
    if ids:
        values = {"most": _SOFT_MOST, "days": _SOFT_DAYS, "rest": _SOFT_REST_DAYS, "category": ALL}
        await db.execute(_TIRED, {**values, "ids": list(ids)})


def _statements(reason: str) -> Mapping[Effect, tuple[TextClause, dict[str, str]]]:
    return {
        Effect.SUPPRESS: (_SUPPRESS, {"category": ALL, "reason": reason}),
        Effect.OPT_OUT: (_SUPPRESS, {"category": MARKETING, "reason": reason}),
        Effect.STOP_CAMPAIGN: (_HOLD, {}),
    }
