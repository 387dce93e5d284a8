"""A campaign as its recipients would see it, and sent to a few who try it out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

from sqlalchemy import Row, update
from sqlalchemy.ext.asyncio import AsyncSession

from libs.clock import Clock
from libs.crypto import FieldCipher
from libs.errors import FieldError, Invalid
from notify_service.domain import campaign_values, campaigns, devices, sending, snapshots, suppressions, windows
from notify_service.domain.accounts import CannotSetUp
from notify_service.domain.channels import CannotRender
from notify_service.domain.content import Content
from notify_service.domain.forecasts import ChannelOf
from notify_service.domain.orders import NO_ADDRESS
from notify_service.domain.reaching import To
from notify_service.domain.rendering import Renderer
from notify_service.domain.sending import Means, Request, Taken
from notify_service.domain.unsubscribe_links import UnsubscribeLinks
from notify_service.domain.wording import WRONG
from notify_service.models import Batch, Campaign


@dataclass(frozen=True, slots=True)
class Preview:
    """`content` is None where nothing would go; `reason` says why."""

    position: int
    address: str
    variables: Mapping[str, str]
    content: Content | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Tools:
    """What a sender has as well."""

    channel_of: ChannelOf
    cipher: FieldCipher
    links: UnsubscribeLinks
    clock: Clock


async def preview(
    db: AsyncSession, campaign: Campaign, tools: Tools, *, positions: Sequence[int] = (), sample: int = 0
) -> list[Preview]:
    """Of members by their positions, or of so many from all over the audience. Raises Invalid, AudienceNotReady."""
    plan, now = campaigns.plan_of(campaign), tools.clock.now()
    account, _ = await campaigns.sender_of(db, campaign, links=tools.links, now=now)
    try:
        channel = tools.channel_of(account)
    except CannotSetUp:
        raise Invalid(errors=[FieldError("account", "This account cannot be used as it is set up.")]) from None
    wanted = positions or await snapshots.spread(db, plan.audience_id, sample)
    rows = await snapshots.rows(db, plan, wanted)
    addresses = [row.address for row in rows]
    window = channel.capability.window
    closed = (await windows.among(db, account.name, window, addresses=addresses, now=now)).closed
    renderer = Renderer(channel, tools.cipher, tools.links, tools.clock)
    content = Content.model_validate(campaign.content).undeclared()
    return [
        _seen(row, campaign_values.worded(plan, row), content, renderer, closed=row.address in closed) for row in rows
    ]


async def try_out(
    db: AsyncSession,
    campaign: Campaign,
    to: Sequence[str],
    *,
    variables: Mapping[str, str],
    means: Means,
    now: datetime,
) -> Taken:
    """Sends it to a few, as any other message is sent, with the campaign's defaults where nothing is given. Its batch
    says what it is; the campaign does not count it. Raises Invalid."""
    values = {**campaign.defaults, **variables}
    taken = await sending.accept(
        db,
        Request(
            owner=campaign.owner,
            channel=campaign.channel,
            account=campaign.account,
            to=[To(address=address, variables=values) for address in to],
            content=Content.model_validate(campaign.content),
            category=campaign.category,
            # Neither kept for a digest nor too many: whoever tries it out waits for it.
            priority="high",
        ),
        means,
        now,
    )
    await db.execute(update(Batch).where(Batch.id == taken.batch_id).values(test_of=campaign.id))
    return taken


def _seen(row: Row[Any], said: dict[str, str] | None, content: Content, renderer: Renderer, *, closed: bool) -> Preview:
    """`said`: the row's values as its reader writes such."""
    left_out = {suppressions.REASON: row.suppressed, NO_ADDRESS: row.unreachable, snapshots.MISSING: row.lacking}
    reason = next((reason for reason, holds in left_out.items() if holds), None)
    shown = None
    if reason is None and said is None:
        reason = WRONG
    elif reason is None:
        try:
            ready = cast(Row[Any], SimpleNamespace(**{**row._asdict(), "variables": said}))
            shown = renderer.shown(ready, content, closed=closed)
        except CannotRender as error:
            reason = error.reason
    address = devices.shown(row.channel, row.user_id, row.address)
    return Preview(row.position, address, row.variables if said is None else said, shown, reason)
