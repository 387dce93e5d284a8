"""What is to be sent to one reader or to a few: looked up and stored together with what others send at the same time,
many requests by one statement."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import orjson

from libs.clock import Clock
from libs.db import is_unavailable
from libs.errors import Unavailable
from libs.lanes import Fetch
from notify_service.domain import accounts, orders, profiles
from notify_service.domain.accounts import Chosen
from notify_service.domain.batches import Batches
from notify_service.domain.categories import Rule
from notify_service.domain.orders import Order
from notify_service.models import Profile

Item = TypeVar("Item")
Result = TypeVar("Result")
_MOST = 50
_BEST_FIRST = accounts.BEST_FIRST.replace(":now", "$4").replace(":settled", "$5")
_JUDGES = f"""
SELECT sender.name, sender.channel, sender.provider, sender.enabled, category.throttle, category.digest
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS wanted(channel, account, category, n)
LEFT JOIN LATERAL (
    SELECT name, channel, provider, enabled FROM account
    WHERE CASE WHEN wanted.account IS NULL THEN account.channel = wanted.channel AND enabled
        ELSE name = wanted.account END
    ORDER BY {_BEST_FIRST} LIMIT 1
) AS sender ON true
LEFT JOIN category ON category.name = wanted.category
ORDER BY wanted.n
"""  # noqa: S608  -- constants
_KNOWN = f"SELECT {', '.join(profiles.KEPT)} FROM profile WHERE user_id = ANY($1::uuid[])"  # noqa: S608  -- likewise


class Wanted(NamedTuple):
    """`account`: by its name; None: whichever of the channel sends now."""

    channel: str
    account: str | None
    category: str


class Judges(NamedTuple):
    """Who would send a message, if anybody, and what holds for its category, if anything does."""

    sender: Chosen | None
    rule: Rule | None


class _Look(NamedTuple):
    wanted: Wanted
    users: frozenset[UUID]


class _Parcel(NamedTuple):
    batch: Mapping[str, Any]
    orders: Sequence[Mapping[str, Any]]


Found = tuple[Judges, Mapping[UUID, Profile]]
"""With the profiles of those of its readers whom we know."""


class Intake:
    """Requests of which each gets an answer of its own; what is wrong with one keeps no other out."""

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._looks: Batches[_Look, Found | Exception] = Batches(self._find, most=_MOST)
        self._writes: Batches[_Parcel, Exception | None] = Batches(self._write, most=_MOST)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._looks.run())
            group.create_task(self._writes.run())

    async def look(self, wanted: Wanted, users: frozenset[UUID]) -> Found:
        """As it is at this moment. Raises Unavailable."""
        found = await self._looks.put(_Look(wanted, users))
        if isinstance(found, Exception):
            raise found
        return found

    async def place(self, batch: Mapping[str, Any], wanted: Sequence[Order]) -> None:
        """The same as `orders.place`, as a transaction of its own that is committed when this returns."""
        now = batch["created_at"]
        error = await self._writes.put(_Parcel(batch, [each.row(now) for each in wanted]))
        if error is not None:
            raise error

    async def _find(self, looks: Sequence[_Look]) -> Sequence[Found | Exception]:
        try:
            judges = await self._judges({each.wanted for each in looks})
            known = await self._known(frozenset().union(*(each.users for each in looks)))
        except Exception as error:  # noqa: BLE001  -- each caller raises it
            return await _apart(self._find, looks, error)
        return [(judges[each.wanted], {user: known[user] for user in each.users & known.keys()}) for each in looks]

    async def _judges(self, every: set[Wanted]) -> Mapping[Wanted, Judges]:
        wanted, now = list(every), self._clock.now()
        columns = [list(column) for column in zip(*wanted, strict=True)]
        rows = await self._fetch(_JUDGES, *columns, now, now - accounts.SETTLES)
        return {each: _judges_of(row) for each, row in zip(wanted, rows, strict=True)}

    async def _known(self, users: frozenset[UUID]) -> Mapping[UUID, Profile]:
        if not users:
            return {}
        return {row["user_id"]: Profile(**row) for row in await self._fetch(_KNOWN, list(users))}

    async def _write(self, parcels: Sequence[_Parcel]) -> Sequence[Exception | None]:
        try:
            batches = orders.as_json([each.batch for each in parcels])
            await self._fetch(orders.PLACE, batches, orders.as_json([row for each in parcels for row in each.orders]))
        except Exception as error:  # noqa: BLE001  -- each caller raises it
            return await _apart(self._write, parcels, error)
        return [None] * len(parcels)


async def _apart(
    ask: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]], items: Sequence[Item], error: Exception
) -> Sequence[Result | Exception]:
    """What could not be answered together, each by itself."""
    if len(items) == 1 or isinstance(error, Unavailable) or is_unavailable(error):
        return [error] * len(items)
    return [outcome for each in items for outcome in await ask([each])]


def _judges_of(row: Mapping[str, Any]) -> Judges:
    sender = Chosen(row["name"], row["channel"], row["provider"], row["enabled"]) if row["name"] else None
    said = {name: orjson.loads(row[name]) for name in ("throttle", "digest") if row[name]}
    return Judges(sender, Rule.model_validate(said) if said else None)
