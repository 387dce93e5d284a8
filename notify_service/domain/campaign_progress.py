"""How far campaigns have come: those that begin at their time, and the counts of those under way.

Counts are one aggregate over a campaign's deliveries, every second, and less often for the very large ones. Nothing is
added up on the way, so nothing can drift: what is shown at the end is what the rows say.
"""

import math
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime
from functools import partial
from uuid import UUID

import structlog
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from libs.clock import Clock
from libs.db import Database, is_unavailable
from libs.errors import ServiceError
from notify_service.domain import accounts, campaigns, provider_templates, sent
from notify_service.domain.campaign_states import CANCELLED, FINISHED, PAUSED, RUNNING, SCHEDULED, after
from notify_service.domain.content import Content
from notify_service.domain.signals import Signals
from notify_service.domain.unsubscribe_links import UnsubscribeLinks
from notify_service.models import Campaign

OPEN = ("queued", "sending", "retry")
STILL = 0.01
"""Messages a second; what goes slower stands still, as when the day's are used up, and is counted now and then."""
_RATE_SECONDS = 30.0
# So long what is over, or paused, is counted on where that can change: messages under way come back, and a verdict may
# come after its worker was given up for lost.
_DOUBT_SECONDS = 60.0
_DUE = text("SELECT id FROM campaign WHERE state = 'scheduled' AND send_at <= now() ORDER BY send_at LIMIT 20")
_UNCOUNTED = text(
    """
    SELECT id FROM campaign
    WHERE (((started_at IS NOT NULL AND finished_at IS NULL) AND state <> 'paused') OR stale)
        AND counted_at <= now() - make_interval(secs => greatest(total / 50000.0, CASE
            WHEN rate < :still AND started_at < now() - interval '1 minute' AND NOT stale THEN 10 ELSE 0.9 END))
    ORDER BY counted_at LIMIT 100
    """
)
# In their order: whoever else marks some of them waits, and holds none that this waits for.
_TOUCH = text(
    """
    UPDATE campaign SET stale = true WHERE id IN (
        SELECT id FROM campaign WHERE batch_id IN (SELECT batch_id FROM delivery WHERE id = ANY(:deliveries))
        ORDER BY id FOR UPDATE)
    """
)

Step = Callable[[AsyncSession, Campaign], Awaitable[None]]
log = structlog.get_logger()


async def work(database: Database, signals: Signals, links: UnsubscribeLinks, clock: Clock) -> None:
    """One turn of the worker."""
    async with database.transaction() as db:
        due = (await db.scalars(_DUE)).all()
        uncounted = (await db.scalars(_UNCOUNTED, {"still": STILL})).all()
    for campaign_id in due:
        await _one(database, campaign_id, partial(begin, signals=signals, links=links, now=clock.now()))
    for campaign_id in uncounted:
        await _one(database, campaign_id, partial(count, signals=signals))


async def begin(
    db: AsyncSession, campaign: Campaign, signals: Signals, *, links: UnsubscribeLinks, now: datetime
) -> None:
    """At its time. One that cannot begin becomes a draft again, and says why."""
    if campaign.state != SCHEDULED:
        return
    try:
        await campaigns.start(db, campaign, links=links, now=now)
    except ServiceError as error:
        log.warning("campaign_not_begun", campaign_id=str(campaign.id), code=error.code)
        await campaigns.unschedule(db, campaign, now, fault=error.code)
    else:
        signals.wake(db)


async def count(db: AsyncSession, campaign: Campaign, signals: Signals) -> None:
    """Counts, and draws the conclusions: what has nothing open is over, what is held pauses, what waited for its
    template goes on, what is cancelled takes back what has come back since."""
    now: datetime = (await db.execute(select(func.now()))).scalar_one()
    if campaign.batch_id is None:
        campaign.stale, campaign.finished_at = False, campaign.finished_at or now
        return
    if campaign.state == CANCELLED and campaign.finished_at is None:
        await campaigns.take_back(db, campaign)
    batch, counts = await sent.batch(db, campaign.owner, campaign.batch_id)
    left, seconds = open_of(counts), (now - (campaign.counted_at or now)).total_seconds()
    age = (now - (campaign.started_at or now)).total_seconds()
    campaign.rate = smoothed(campaign.rate, open_of(campaign.counts) - left, seconds=seconds, age=age)
    campaign.counts, campaign.counted_at = counts, now
    if campaign.state == RUNNING and left and batch.held:
        await campaigns.pause(db, campaign, now, fault=batch.hold_reason)
    elif await _may_go_on(db, campaign):
        await campaigns.resume(db, campaign, now)
        signals.wake(db)
    before = campaign.state
    _conclude(campaign, left, now)
    if campaign.state == FINISHED != before:
        await campaigns.tell(db, campaign, "finished")


async def _may_go_on(db: AsyncSession, campaign: Campaign) -> bool:
    """Whether it was paused for its template alone, which may be sent again."""
    if campaign.state != PAUSED or campaign.fault != provider_templates.HELD or campaign.account is None:
        return False
    account = await accounts.by_name(db, campaign.account)
    content = Content.model_validate(campaign.content)
    return account is not None and not await provider_templates.problems(db, account, content)


def _conclude(campaign: Campaign, left: int, now: datetime) -> None:
    if campaign.state == RUNNING and not left:
        campaign.state = after(campaign.state, "finish")
    elif campaign.state == FINISHED and left:
        # Queued again by other means.
        campaign.state, campaign.finished_at = after(campaign.state, "resend"), None
    if campaign.state in (FINISHED, CANCELLED) and not left:
        campaign.finished_at, campaign.rate = campaign.finished_at or now, 0.0
    since = campaign.finished_at or campaign.updated_at
    lately = (now - since).total_seconds() < _DOUBT_SECONDS
    campaign.stale = lately and (campaign.state == PAUSED or "unknown" in campaign.counts)


async def touch(db: AsyncSession, deliveries: Collection[UUID]) -> None:
    """Something became of these after they had left: their campaigns, if they have any, are counted again."""
    if deliveries:
        await db.execute(_TOUCH, {"deliveries": list(deliveries)})


def open_of(counts: Mapping[str, int]) -> int:
    """Those that may still leave."""
    return sum(counts.get(state, 0) for state in OPEN)


def smoothed(rate: float, ended: int, *, seconds: float, age: float) -> float:
    """Messages a second of about the last minute, after `ended` more in so many `seconds` of a campaign of this age."""
    if seconds <= 0:
        return rate
    weight = 1 - math.exp(-seconds / max(min(_RATE_SECONDS, age), seconds))
    return max(0.0, rate + weight * (ended / seconds - rate))


async def _one(database: Database, campaign_id: UUID, step: Step) -> None:
    """In a transaction of its own. One that somebody else holds, or that cannot be done now, comes to its next turn."""
    try:
        async with database.transaction() as db:
            query = select(Campaign).where(Campaign.id == campaign_id).with_for_update(skip_locked=True)
            campaign = await db.scalar(query)
            if campaign is not None:
                await step(db, campaign)
    except (SQLAlchemyError, OSError) as error:
        if not is_unavailable(error):
            raise
        log.warning("campaign_waits", campaign_id=str(campaign_id), reason=type(error).__name__)
