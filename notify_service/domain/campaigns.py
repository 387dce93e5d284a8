"""Campaigns: one content for an audience, from the draft to the last recipient.

A campaign begins with a snapshot: one transaction makes a delivery of every member of its audience, in a batch of its
own. From then on the batch is what is sent, held and cancelled, and the audience may change or go.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from libs import audits
from libs.errors import FieldError, Invalid, NotFound, PreconditionFailed
from libs.ids import uuid7
from notify_service.domain import (
    campaign_values,
    categories,
    happenings,
    orders,
    sending,
    snapshots,
    throttles,
    wording,
)
from notify_service.domain.adaptation import not_in_bulk
from notify_service.domain.campaign_states import DRAFT, PAUSED, after
from notify_service.domain.channels import Provider
from notify_service.domain.content import Content
from notify_service.domain.happenings import told_of
from notify_service.domain.snapshots import MISSING, Into, Plan
from notify_service.domain.unsubscribe_links import UnsubscribeLinks
from notify_service.domain.wording import WRONG
from notify_service.errors import AudienceNotReady, MissingVariables, NotADraft, WrongVariables
from notify_service.models import Account, Audience, Batch, Campaign

REFUSE, SKIP = "refuse", "skip"
# Their attempts stay on record: the fence, by which those are known, goes on growing.
_RESEND = text(
    """
    UPDATE delivery SET state = 'queued', reason = NULL, attempts = 0, fence = fence + 1, next_at = now(),
        lease_until = NULL, provider_id = NULL, error_class = NULL, error_code = NULL, sent_at = NULL,
        delivered_at = NULL, read_at = NULL, updated_at = now()
    WHERE id IN (
        SELECT id FROM delivery
        WHERE batch_id = :batch AND state = ANY(:states) AND coalesce(reason, '') <> ALL(CAST(:left_out AS text[]))
        FOR UPDATE SKIP LOCKED)
    """
)
# Their sender writes to many of them at a time: waiting for it here could mean that each waits for the other.
_TAKE_BACK = text(
    f"""
    WITH taken AS (
        UPDATE delivery SET state = 'cancelled', reason = 'cancelled', lease_until = NULL, fence = fence + 1,
            updated_at = now()
        WHERE id IN (
            SELECT id FROM delivery WHERE batch_id = :batch AND state IN ('queued', 'retry', 'claimed')
            FOR UPDATE SKIP LOCKED)
        RETURNING id, state, reason, error_code, template
    )
    {told_of("taken")}
    """  # noqa: S608  -- constants
)


def visible_to(owner: str) -> Select[Campaign]:
    return select(Campaign).where(Campaign.owner == owner)


async def one(db: AsyncSession, owner: str, campaign_id: UUID) -> Campaign:
    """Raises NotFound."""
    return _found(await db.scalar(visible_to(owner).where(Campaign.id == campaign_id)))


async def held(db: AsyncSession, owner: str, campaign_id: UUID) -> Campaign:
    """One that nobody else changes until this transaction ends. Raises NotFound."""
    return _found(await db.scalar(visible_to(owner).where(Campaign.id == campaign_id).with_for_update()))


async def page(
    db: AsyncSession, owner: str, *, state: str | None, before: UUID | None, limit: int
) -> Sequence[Campaign]:
    """Newest first, one more than `limit` if there are more."""
    query = visible_to(owner).order_by(Campaign.id.desc()).limit(limit + 1)
    if state is not None:
        query = query.where(Campaign.state == state)
    if before is not None:
        query = query.where(Campaign.id < before)
    return (await db.scalars(query)).all()


async def create(
    db: AsyncSession, owner: str, given: Mapping[str, Any], *, links: UnsubscribeLinks, now: datetime
) -> Campaign:
    """`given`: the columns that people set. Raises Invalid, with the path of every field that is wrong."""
    campaign = Campaign(
        id=uuid7(),
        owner=owner,
        state=DRAFT,
        total=0,
        counts={},
        rate=0.0,
        stale=False,
        created_at=now,
        updated_at=now,
        version=1,
        **given,
    )
    await sender_of(db, campaign, links=links, now=now)
    db.add(campaign)
    await db.flush()
    return campaign


async def change(
    db: AsyncSession,
    campaign: Campaign,
    given: Mapping[str, Any],
    *,
    version: int | None,
    links: UnsubscribeLinks,
    now: datetime,
) -> None:
    """Of a draft. `version`: only this one. Raises NotADraft, PreconditionFailed, Invalid."""
    if campaign.state != DRAFT:
        raise NotADraft
    if version is not None and version != campaign.version:
        raise PreconditionFailed
    for name, value in given.items():
        setattr(campaign, name, value)
    await sender_of(db, campaign, links=links, now=now)
    await _changed(db, campaign, now)


async def remove(db: AsyncSession, campaign: Campaign) -> None:
    """Raises NotADraft."""
    if campaign.state != DRAFT:
        raise NotADraft
    await db.delete(campaign)
    await db.flush()


async def schedule(
    db: AsyncSession, campaign: Campaign, send_at: datetime, *, links: UnsubscribeLinks, now: datetime
) -> None:
    """Raises IllegalTransition, Invalid."""
    campaign.state = after(campaign.state, "schedule")
    if campaign.expires_at is not None and campaign.expires_at <= send_at:
        raise Invalid(errors=[FieldError("send_at", "The campaign has expired by then.")])
    campaign.send_at, campaign.fault = send_at, None
    await sender_of(db, campaign, links=links, now=now)
    await _told(db, campaign, "scheduled", now)


async def unschedule(db: AsyncSession, campaign: Campaign, now: datetime, *, fault: str | None = None) -> None:
    """Makes it a draft again, with a fault if it could not begin. Raises IllegalTransition."""
    campaign.state = after(campaign.state, "unschedule")
    campaign.send_at, campaign.fault = None, fault
    await _told(db, campaign, "unscheduled", now)


async def start(db: AsyncSession, campaign: Campaign, *, links: UnsubscribeLinks, now: datetime) -> None:
    """Takes the snapshot. Raises IllegalTransition, AudienceNotReady, MissingVariables and Invalid, all before anything
    is written."""
    state = after(campaign.state, "start")
    query = select(Audience).where(Audience.id == campaign.audience_id, Audience.owner == campaign.owner)
    audience = await db.scalar(query.with_for_update(read=True))
    if audience is None or audience.state != "ready":
        raise AudienceNotReady
    account, _ = await sender_of(db, campaign, links=links, now=now)
    if campaign.expires_at is not None and campaign.expires_at <= now:
        raise Invalid(errors=[FieldError("expires_at", "This is over.")])
    plan = plan_of(campaign)
    if campaign.missing == REFUSE and (lacking := await snapshots.missing(db, plan)):
        raise MissingVariables(lacking)
    if campaign.missing == REFUSE and (wrong := await campaign_values.look(db, plan)).names:
        raise WrongVariables(wrong.names, wrong.lines)
    batch_id = uuid7()
    content = Content.model_validate(campaign.content)
    batch = orders.batch_row(batch_id, owner=campaign.owner, content=content, account=campaign.account, now=now)
    await orders.add_batch(db, batch)
    into = Into(batch_id, campaign.owner, account.name, campaign.expires_at)
    counts = await snapshots.take(db, plan, into, now)
    if plan.wording.kinds:
        wrong_ones = await campaign_values.word(db, plan, batch_id)
        counts = moved(counts, "failed", wrong_ones)
    rules = await categories.among(db, {campaign.category})
    if rules and (over := await throttles.admit_batch(db, batch_id, rules, now)):
        counts = moved(counts, "suppressed", over)
    campaign.counts, campaign.total = counts, sum(counts.values())
    campaign.state, campaign.fault, campaign.batch_id, campaign.account = state, None, batch_id, account.name
    campaign.started_at = campaign.counted_at = now
    await _told(db, campaign, "started", now, recipients=campaign.total)


async def pause(db: AsyncSession, campaign: Campaign, now: datetime, *, fault: str | None = None) -> None:
    """After the commit nothing begins to leave that had not begun. What was paused by itself, with a fault, is then
    paused by somebody, and goes on when they say so. Raises IllegalTransition."""
    was_paused_by_itself = campaign.state == PAUSED and campaign.fault is not None
    state = PAUSED if was_paused_by_itself and fault is None else after(campaign.state, "pause")
    campaign.state, campaign.fault, campaign.stale = state, fault, True
    await _hold(db, campaign, held=True)
    await _told(db, campaign, "paused", now)


async def resume(db: AsyncSession, campaign: Campaign, now: datetime) -> None:
    """Raises IllegalTransition."""
    campaign.state, campaign.fault = after(campaign.state, "resume"), None
    await _hold(db, campaign, held=False)
    await _told(db, campaign, "resumed", now)


async def cancel(db: AsyncSession, campaign: Campaign, now: datetime) -> None:
    """Takes back what has not left. Raises IllegalTransition."""
    campaign.state = after(campaign.state, "cancel")
    if campaign.batch_id is None:
        campaign.finished_at = now
    else:
        # What is on its way and comes back must not go again.
        await _hold(db, campaign, held=True)
        await take_back(db, campaign)
    await _told(db, campaign, "cancelled", now)


async def resend(db: AsyncSession, campaign: Campaign, states: Collection[str], now: datetime) -> int:
    """Queues those anew that ended so, as further attempts of the same deliveries. Returns how many. Who lacked a
    variable, or had a wrong one, still does, and is left out. Raises IllegalTransition."""
    state = after(campaign.state, "resend")
    values = {"batch": campaign.batch_id, "states": sorted(states), "left_out": [MISSING, WRONG]}
    count: int = (await db.execute(_RESEND, values)).rowcount  # type: ignore[attr-defined]  # of a statement that writes
    if count:
        campaign.state, campaign.finished_at = state, None
        await _hold(db, campaign, held=False)
        await _told(db, campaign, "resent", now, recipients=count)
    return count


async def take_back(db: AsyncSession, campaign: Campaign) -> None:
    """Cancels what has not left, but for what its sender has in hands at this moment: of a cancelled campaign that is
    done again until nothing is left."""
    await db.execute(_TAKE_BACK, {"batch": campaign.batch_id})


def plan_of(campaign: Campaign) -> Plan:
    """Raises AudienceNotReady where there is none any more."""
    if campaign.audience_id is None:
        raise AudienceNotReady
    content = Content.model_validate(campaign.content)
    return Plan(
        audience_id=campaign.audience_id,
        channel=campaign.channel,
        account=campaign.account,
        category=campaign.category,
        names=sorted(content.placeholders()),
        wording=wording.of([content]),
        # In a campaign nobody asks how many were left out before it.
        defaults={throttles.COUNT: "0", **campaign.defaults},
    )


async def sender_of(
    db: AsyncSession, campaign: Campaign, *, links: UnsubscribeLinks, now: datetime
) -> tuple[Account, Provider]:
    """Who sends it. Raises Invalid with all that is wrong with it."""
    account, provider = await sending.sender_of(db, campaign.channel, campaign.account, now)
    content = Content.model_validate(campaign.content)
    errors = await sending.errors_of(db, account, content)
    errors += links.problems(campaign.category, [("content", content)])
    errors += wording.problems([("content", content)])
    wrong = wording.of([content]).wrong(campaign.defaults)
    errors += [FieldError(f"defaults.{name}", why) for name, why in wrong.items()]
    errors += not_in_bulk(provider.capability, "channel", None)
    if campaign.audience_id is not None:
        query = select(Audience.channel).where(Audience.id == campaign.audience_id, Audience.owner == campaign.owner)
        channel = await db.scalar(query)
        if channel is None:
            errors.append(FieldError("audience", "There is no such audience."))
        elif channel != campaign.channel:
            errors.append(FieldError("audience", "This audience is on another channel."))
    if errors:
        raise Invalid(errors=errors)
    return account, provider


def moved(counts: Mapping[str, int], state: str, many: int) -> dict[str, int]:
    """After so many of the queued ones have come into another state."""
    found = {**counts, "queued": counts["queued"] - many, state: counts.get(state, 0) + many}
    return {name: count for name, count in found.items() if count}


async def _hold(db: AsyncSession, campaign: Campaign, *, held: bool) -> None:
    # Without a reason it is held by somebody, and the campaign alone lets it go.
    await db.execute(update(Batch).where(Batch.id == campaign.batch_id).values(held=held, hold_reason=None))


async def _changed(db: AsyncSession, campaign: Campaign, now: datetime) -> None:
    campaign.version += 1
    campaign.updated_at = now
    await db.flush()


async def _told(
    db: AsyncSession, campaign: Campaign, what: str, now: datetime, *, recipients: int | None = None
) -> None:
    await _changed(db, campaign, now)
    owner = UUID(campaign.owner)
    await audits.tell(db, f"campaign.{what}", owner, now=now, campaign=campaign.id, recipients=recipients)
    await tell(db, campaign, what)


async def tell(db: AsyncSession, campaign: Campaign, what: str) -> None:
    """Says to endpoints that the campaign has taken this step."""
    said = {
        "campaign_id": campaign.id,
        "name": campaign.name,
        "state": campaign.state,
        "fault": campaign.fault,
        "channel": campaign.channel,
        "account": campaign.account,
        "category": campaign.category,
        "batch_id": campaign.batch_id,
        "total": campaign.total,
        "counts": campaign.counts,
    }
    await happenings.tell(db, f"campaign.{what}", {name: value for name, value in said.items() if value is not None})


def _found(campaign: Campaign | None) -> Campaign:
    if campaign is None:
        raise NotFound
    return campaign
