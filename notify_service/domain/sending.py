"""Accepting messages: for one recipient or ten thousand, all of them or none."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.errors import FieldError, Invalid
from libs.ids import uuid7
from notify_service.domain import (
    accounts,
    devices,
    orders,
    pacing,
    provider_templates,
    reaching,
    throttles,
    wording,
)
from notify_service.domain.accounts import Chosen
from notify_service.domain.adaptation import not_in_bulk, problems
from notify_service.domain.categories import Rule
from notify_service.domain.channels import Provider
from notify_service.domain.channels.registry import CHANNELS, PROVIDERS
from notify_service.domain.content import Content
from notify_service.domain.digest_words import is_words
from notify_service.domain.intake import Intake, Wanted
from notify_service.domain.orders import Order
from notify_service.domain.profiles import Ask
from notify_service.domain.reaching import Reach, To
from notify_service.domain.turns import BULK, HIGH, NORMAL
from notify_service.domain.unsubscribe_links import UnsubscribeLinks
from notify_service.domain.wording import Wording
from notify_service.models import Account, Profile

Found = TypeVar("Found", Account, Chosen)
LANES = {"high": HIGH, "normal": NORMAL, "bulk": BULK}
_FEW = 100
_BREATH = 50
_MOST_ERRORS = 50
# Ten thousand users may have twenty devices each.
_MOST_DELIVERIES = 20_000
_DEDUPE_WINDOW = timedelta(hours=24)
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:owner, 5071884))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A channel that tries when those before have not succeeded."""

    channel: str
    account: str | None
    content: Content | None
    after_seconds: int
    until: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    owner: str
    channel: str
    account: str | None = None
    to: Sequence[To]
    content: Content
    category: str
    priority: str | None = None
    send_at: datetime | None = None
    expires_at: datetime | None = None
    steps: Sequence[Step] = ()

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.channel, self.account, self.category)

    @property
    def users(self) -> frozenset[UUID]:
        """Those among few recipients; to look up thousands would hold up others."""
        return frozenset(to.user_id for to in self.to if to.user_id) if len(self.to) <= _FEW else frozenset()

    @property
    def contents(self) -> Iterator[tuple[str, Content]]:
        """With their paths."""
        yield "content", self.content
        for index, step in enumerate(self.steps):
            if step.content:
                yield f"fallback.{index}.content", step.content

    @property
    def lane(self) -> int:
        priority = self.priority or ("normal" if len(self.to) <= _FEW else "bulk")
        return LANES[priority]

    @property
    def placeholders(self) -> frozenset[str]:
        return self.content.placeholders().union(*(step.content.placeholders() for step in self.steps if step.content))

    @property
    def wording(self) -> Wording:
        return wording.of(content for _, content in self.contents)

    @property
    def together(self) -> bool:
        """Whether it may wait to be said with others: it has no time of its own, and loses nothing by it."""
        return not (self.steps or self.send_at or self.expires_at) and is_words(self.content)


@dataclass(frozen=True, slots=True)
class Means:
    """What it takes to accept messages."""

    intake: Intake
    ask: Ask
    links: UnsubscribeLinks


class Accepted(NamedTuple):
    """A delivery. `recipient`: the place of whom it is for, from 0."""

    id: UUID
    state: str
    recipient: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What was accepted, in the order of the recipients. A user has a delivery for each device."""

    batch_id: UUID
    account: str
    deliveries: Sequence[Accepted]
    senders: frozenset[str]
    """The accounts that they go over: a device may take messages of another than all the rest."""


class _Addressed(NamedTuple):
    """A recipient at one address. `account`: whose messages that takes, where it is a device."""

    place: int
    to: To
    address: str
    account: str | None = None


async def accept(db: AsyncSession, request: Request, means: Means, now: datetime, *, alone: bool = False) -> Taken:
    """Writes the batch and its deliveries. Raises Invalid, with the path of every field that is wrong. `alone`: nothing
    else is to be true with them, so they may be committed before `db` is."""
    (chosen, rule), known = await means.intake.look(request.wanted, request.users)
    account, provider = _able(chosen, request.channel, request.account)
    errors = await errors_of(db, account, request.content)
    errors += [*means.links.problems(request.category, request.contents), *wording.problems(request.contents)]
    errors += not_in_bulk(provider.capability, "to", len(request.to))
    others: dict[str, Provider] = {}
    for index, step in enumerate(request.steps):
        path = f"fallback.{index}"
        another, others[step.channel] = await sender_of(db, step.channel, step.account, now, field=path)
        errors += await errors_of(db, another, step.content or request.content, f"{path}.")
        errors += not_in_bulk(others[step.channel].capability, f"{path}.channel", len(request.to))
    request = replace(request, to=reaching.named(request.to, provider))
    reach = await reaching.reach(db, request.to, provider, account=request.account, ask=means.ask, known=known)
    recipients, wrong = await _addressed(request, reach, others)
    errors += wrong
    if errors:
        raise Invalid(errors=errors[:_MOST_ERRORS])
    recipients = _worded(request, recipients, reach.known)
    batch = orders.batch_row(
        uuid7(),
        owner=request.owner,
        account=request.account,
        content=request.content,
        route=_route(request.steps),
        now=now,
    )
    like = _pattern(request, batch["id"], account.name, many=len(recipients) > 1)
    wanted = [_order(like, each) for each in recipients]
    wanted = await _stored(db, batch, wanted, rule=rule, intake=means.intake if alone else None)
    made = zip(wanted, recipients, strict=True)
    accepted = [Accepted(order.id, order.state, each.place) for order, each in made]
    return Taken(batch["id"], account.name, accepted, frozenset(order.account for order in wanted))


async def sender_of(
    db: AsyncSession, channel: str, name: str | None, now: datetime, *, field: str = ""
) -> tuple[Account, Provider]:
    """Who sends, and what they can. Raises Invalid."""
    found = await (accounts.choose(db, channel, now) if name is None else accounts.by_name(db, name))
    return _able(found, channel, name, field=field)


def _able(found: Found | None, channel: str, name: str | None, *, field: str = "") -> tuple[Found, Provider]:
    """The account that was found for a channel, or by its name, with what it can. Raises Invalid."""
    path = f"{field}." if field else ""
    if channel not in CHANNELS:
        raise Invalid(errors=[FieldError(f"{path}channel", "There is no such channel.")])
    if found is None or found.channel != channel or not found.enabled:
        what = "account" if name else "channel"
        raise Invalid(errors=[FieldError(f"{path}{what}", "No account is set up for this.")])
    provider = PROVIDERS.get(found.provider)
    if provider is None:
        raise Invalid(errors=[FieldError(f"{path}channel", "No account is set up for this.")])
    return found, provider


async def _stored(
    db: AsyncSession, batch: Mapping[str, Any], wanted: list[Order], *, rule: Rule | None, intake: Intake | None
) -> list[Order]:
    """In the same order, as what came before them and the rule of their category leave them."""
    keyed = [order for order in wanted if order.dedupe_key]
    if intake is not None and not (rule or keyed or orders.are_many(wanted)):
        await intake.place(batch, wanted)
        return wanted
    now = batch["created_at"]
    found = await _without_duplicates(db, wanted, keyed, now) if keyed else wanted
    found = await pacing.by_rules(db, found, {wanted[0].category: rule} if rule else {}, now)
    await orders.place(db, batch, found, now)
    return found


def address_in(channel: str, address: str) -> str:
    """The one form of an address, by any provider of the channel that knows it. Raises Invalid."""
    refusal = "There is no such channel."
    for provider in PROVIDERS.values():
        if provider.capability.channel == channel:
            try:
                return provider.check_address(address)
            except ValueError as error:
                refusal = str(error)
    raise Invalid(errors=[FieldError("address" if channel in CHANNELS else "channel", refusal)])


def problems_of(content: Content, provider: Provider) -> list[Any]:
    found = list(problems(content, provider.capability))
    return [*found, *(provider.check_content(content) if provider.check_content else ())]


async def errors_of(db: AsyncSession, account: Account | Chosen, content: Content, path: str = "") -> list[FieldError]:
    """Why the account cannot send this content, with the paths of its fields."""
    found = problems_of(content, PROVIDERS[account.provider])
    found += await provider_templates.problems(db, account, content)
    return [FieldError(f"{path}{problem.field}", problem.message) for problem in found]


async def _addressed(
    request: Request, reach: Reach, others: Mapping[str, Provider]
) -> tuple[list[_Addressed], list[FieldError]]:
    """Each recipient with the addresses in their one form, and what is wrong with the others."""
    needed, declared = request.placeholders - {throttles.COUNT}, request.wording
    found: list[_Addressed] = []
    errors: list[FieldError] = []
    for index, to in enumerate(request.to):
        if index % _BREATH == _BREATH - 1:
            # An address that was made for it takes most of a millisecond, and others wait meanwhile.
            await asyncio.sleep(0)
        errors += (
            FieldError(f"to.{index}.variables.{name}", "This variable is missing.")
            for name in sorted(needed - to.variables.keys())
        )
        errors += (
            FieldError(f"to.{index}.variables.{name}", why) for name, why in declared.wrong(to.variables).items()
        )
        try:
            addresses = reach.addresses(to)
        except ValueError as error:
            errors.append(FieldError(f"to.{index}.{'address' if to.address else 'user'}", str(error)))
            continue
        further, wrong = _further(to, others, f"to.{index}.addresses")
        errors += wrong
        full = replace(to, addresses=further)
        found += (_Addressed(index, full, address, account) for address, account in addresses)
        if len(errors) >= _MOST_ERRORS:
            break
    if len(found) > _MOST_DELIVERIES:
        errors.append(FieldError("to", f"These users have more than {_MOST_DELIVERIES} devices together."))
    return found, errors


def _worded(request: Request, recipients: list[_Addressed], known: Mapping[UUID, Profile]) -> list[_Addressed]:
    """With the values as each of them writes such."""
    declared = request.wording
    if not declared.kinds:
        return recipients
    found = []
    for each in recipients:
        profile = known.get(each.to.user_id) if each.to.user_id else None
        own = (profile.language, profile.timezone) if profile else ()
        found.append(each._replace(to=replace(each.to, variables=declared.of(each.to.variables, *own))))
    return found


def _further(to: To, others: Mapping[str, Provider], path: str) -> tuple[dict[str, str], list[FieldError]]:
    found: dict[str, str] = {}
    errors: list[FieldError] = []
    for channel, address in to.addresses.items():
        if to.user_id is not None and channel in devices.CHANNELS:
            errors.append(FieldError(f"{path}.{channel}", "Messages to a user go to the devices that they have."))
            continue
        try:
            found[channel] = others[channel].check_address(address)
        except KeyError:
            errors.append(FieldError(f"{path}.{channel}", "No channel of `fallback` is called so."))
        except ValueError as error:
            errors.append(FieldError(f"{path}.{channel}", str(error)))
    return found, errors


def _pattern(request: Request, batch_id: UUID, account: str, *, many: bool) -> Order:
    """What is the same for all recipients."""
    first = request.steps[0] if request.steps else None
    return Order(
        id=batch_id,
        owner=request.owner,
        queue=f"{request.owner}/{batch_id}" if many else None,
        batch_id=batch_id,
        channel=request.channel,
        account=account,
        address="",
        category=request.category,
        lane=request.lane,
        variables={throttles.COUNT: "0"} if throttles.COUNT in request.placeholders else {},
        send_at=request.send_at,
        expires_at=request.expires_at,
        follow_after=first.after_seconds if first else None,
        together=request.together,
    )


def _order(like: Order, recipient: _Addressed) -> Order:
    to = recipient.to
    return replace(
        like,
        id=uuid7(),
        user_id=to.user_id,
        account=recipient.account or like.account,
        address=recipient.address,
        variables={**to.variables, **like.variables},
        dedupe_key=to.dedupe_key,
        addresses=dict(to.addresses) or None,
    )


async def _without_duplicates(
    db: AsyncSession, wanted: Sequence[Order], keyed: Sequence[Order], now: datetime
) -> list[Order]:
    """Those whose occasion their address was told of within a day are marked: recorded, and never sent."""
    # Two requests with the same keys: the second one waits until the first one's rows can be seen.
    await db.execute(_LOCK, {"owner": keyed[0].owner})
    seen = await orders.occasions(db, keyed, since=now - _DEDUPE_WINDOW)
    return list(_marked(wanted, seen))


def _marked(wanted: Sequence[Order], seen: set[tuple[str, str]]) -> Iterator[Order]:
    for order in wanted:
        key = (order.address, order.dedupe_key or "")
        yield replace(order, duplicate=True) if order.dedupe_key and key in seen else order
        if order.dedupe_key:
            seen.add(key)


def _route(steps: Sequence[Step]) -> list[dict[str, Any]]:
    return [
        {
            "channel": step.channel,
            "account": step.account,
            "content": step.content.undeclared().model_dump(mode="json", exclude_defaults=True)
            if step.content
            else None,
            "after_seconds": step.after_seconds,
            "until": step.until,
        }
        for step in steps
    ]
