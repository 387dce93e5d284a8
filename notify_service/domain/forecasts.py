"""What will become of a campaign before it begins, and when it will be over."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from notify_service.domain import (
    accounts,
    campaign_values,
    campaigns,
    categories,
    quotas,
    recipient_quotas,
    snapshots,
    throttles,
    windows,
)
from notify_service.domain.accounts import CannotSetUp
from notify_service.domain.campaign_progress import STILL, open_of
from notify_service.domain.campaign_states import RUNNING
from notify_service.domain.campaign_values import Example
from notify_service.domain.channels import Capability, Channel
from notify_service.domain.limits import ACCOUNT
from notify_service.domain.quotas import Room
from notify_service.domain.unsubscribe_links import UnsubscribeLinks
from notify_service.models import Account, Campaign

ChannelOf = Callable[[Account], Channel]
"""The channel of an account, as its sender would open it. Raises CannotSetUp."""
_AT_ONCE = 5000
_ONE_BY_ONE = "The digest of this category does not apply to campaigns: each message goes by itself."


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Each member of the audience is in one of `valid`, `suppressed`, `no_address`, `switched_off`, `lacking`, `wrong`,
    `throttled` and `window_closed`."""

    account: str
    total: int
    valid: int
    suppressed: int
    no_address: int
    """Users without a device."""
    switched_off: int
    lacking: int
    missing: Mapping[str, int]
    """Variables without a default, with how many lack them."""
    wrong: int
    wrong_variables: Mapping[str, int]
    """Variables with values of other types than are declared, with how many have such."""
    examples: Sequence[Example]
    throttled: int
    window_closed: int
    over_quota: int
    """How many will have to wait until the account may send more."""
    expected_seconds: float | None
    notes: Sequence[str]
    """In plain words."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast an account goes. `rate`: messages a second, as far as anybody knows."""

    rate: float | None
    room: Room | None

    def seconds(self, count: int, now: datetime) -> float | None:
        """Until the last of so many has left; None where nobody can say."""
        if not count:
            return 0.0
        wait = self.room.wait(count, now) if self.room else 0.0
        if wait is None or not self.rate:
            return wait or None
        return max(wait, count / self.rate)


@dataclass(frozen=True, slots=True)
class Reach:
    """Of those who would get something: to whom no free text may go now, and who counts anew where people are
    counted."""

    closed: int
    strangers: int


async def check(
    db: AsyncSession, campaign: Campaign, channel_of: ChannelOf, *, links: UnsubscribeLinks, now: datetime
) -> Forecast:
    """Raises Invalid with what is wrong with the campaign itself, and AudienceNotReady."""
    plan = campaigns.plan_of(campaign)
    account, provider = await campaigns.sender_of(db, campaign, links=links, now=now)
    census = await snapshots.census(db, plan)
    capability = capability_of(account, channel_of) or provider.capability
    is_free = not campaign.content.get("template")
    pool = recipient_quotas.pool_of(account, capability)
    wrong = await campaign_values.look(db, plan)
    rule = (await categories.among(db, {campaign.category})).get(campaign.category)
    throttle = rule.throttle if rule else None
    addresses = await snapshots.addresses(db, plan) if capability.window or pool or throttle else ()
    left = [each for each in addresses if each not in wrong.addresses]
    throttled = await throttles.foreseen(db, plan.channel, plan.category, addresses=left, rule=throttle, now=now)
    left = [each for each in left if each not in throttled]
    reach = await _reach(db, account, capability, addresses=left, is_free=is_free, now=now)
    pace = await pace_of(db, account, capability, now)
    people = await recipient_quotas.room(db, pool) if pool else None
    valid = census.valid - len(wrong.addresses) - len(throttled) - reach.closed
    over = max(0, valid - pace.room.left) if pace.room else 0
    return Forecast(
        account=account.name,
        total=census.total,
        valid=valid,
        suppressed=census.suppressed,
        no_address=census.no_address,
        switched_off=census.switched_off,
        lacking=census.lacking,
        missing=await snapshots.missing(db, plan),
        wrong=len(wrong.addresses),
        wrong_variables=wrong.names,
        examples=wrong.examples,
        throttled=len(throttled),
        window_closed=reach.closed,
        over_quota=max(over, reach.strangers - people.left if people else 0),
        expected_seconds=_later(pace.seconds(valid, now), people.wait(reach.strangers, now) if people else None),
        notes=[_ONE_BY_ONE] if rule and rule.digest else [],
    )


async def eta(db: AsyncSession, campaign: Campaign, channel_of: ChannelOf, now: datetime) -> float | None:
    """Seconds until a campaign that runs is over, by how fast it goes and by what its account may still send. None
    where nobody can say."""
    if campaign.state != RUNNING or campaign.account is None:
        return None
    account = await accounts.by_name(db, campaign.account)
    capability = capability_of(account, channel_of) if account else None
    if account is None or capability is None:
        return None
    pace = await pace_of(db, account, capability, now)
    # A campaign that stands still waits for its account; then it goes on as fast as that may.
    seen = campaign.rate if campaign.rate >= STILL else None
    left = open_of(campaign.counts)
    seconds = Pace(min(filter(None, (seen, pace.rate)), default=None), pace.room).seconds(left, now)
    pool = recipient_quotas.pool_of(account, capability)
    return _later(seconds, (await recipient_quotas.room(db, pool)).wait(left, now) if pool else None)


def _later(pace: float | None, people: float | None) -> float | None:
    """Nobody to wait for says nothing of the pace."""
    return max(pace or 0.0, people) if people else pace


def capability_of(account: Account, channel_of: ChannelOf) -> Capability | None:
    try:
        return channel_of(account).capability
    except CannotSetUp:
        return None


async def pace_of(db: AsyncSession, account: Account, capability: Capability, now: datetime) -> Pace:
    """By the limits of the provider and those of the account's owner."""
    rates = [rate.limit / rate.seconds for rate in capability.rates if rate.scope == ACCOUNT]
    if account.rate is not None:
        rates.append(account.rate)
    limit = accounts.limit_of(account, capability)
    room = await quotas.room(db, account.name, limit=limit[0], hours=limit[1], now=now) if limit else None
    return Pace(min(rates, default=None), room)


async def _reach(
    db: AsyncSession,
    account: Account,
    capability: Capability,
    *,
    addresses: Sequence[str],
    is_free: bool,
    now: datetime,
) -> Reach:
    """`is_free`: the content is no template, which goes where free text may not."""
    pool = recipient_quotas.pool_of(account, capability)
    closed = strangers = 0
    for start in range(0, len(addresses), _AT_ONCE):
        some = addresses[start : start + _AT_ONCE]
        found = await windows.among(db, account.name, capability.window, addresses=some, now=now)
        out = found.closed if is_free else frozenset()
        closed += len(out)
        if pool:
            counting = [address for address in some if address not in out and address not in found.opened]
            strangers += await recipient_quotas.strangers(db, pool, counting)
    return Reach(closed, strangers)
