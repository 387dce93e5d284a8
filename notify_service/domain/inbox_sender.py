"""The loop that empties the queue of our own account: what waits is put into inboxes, many at a time.

It has the manners of `sender`, whose messages leave; these only come, so nothing is claimed, marked or in doubt.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any

import structlog
from sqlalchemy import Row
from sqlalchemy.exc import SQLAlchemyError

from libs.db import Database, is_unavailable
from libs.errors import Unavailable
from notify_service.domain import accounts, arrivals
from notify_service.domain.arrivals import DELIVERED, EXPIRED, Arrival, Arrivals
from notify_service.domain.channels import CannotRender
from notify_service.domain.channels.inapp import CAPABILITY, InApp
from notify_service.domain.content import Content
from notify_service.domain.deliveries import Verdict
from notify_service.domain.limits import Limits
from notify_service.domain.patience import GRACE_SECONDS, or_grace, to_the_end, woken
from notify_service.domain.quotas import Quota
from notify_service.domain.rendering import Renderer
from notify_service.domain.sender import ATTEMPTS, DELIVERIES, IDLE_LOOK_SECONDS, REST_SECONDS, WAIT_SECONDS, Tools
from notify_service.models import Account

log = structlog.get_logger()


class InboxSender:
    """Of our own account, as long as it is set up like this."""

    def __init__(self, account: Account, *, db: Database, arrivals: Arrivals, tools: Tools) -> None:
        limit = accounts.limit_of(account, CAPABILITY)
        self.account = account
        self._db = db
        self._arrivals = arrivals
        self._tools = tools
        self._quota = Quota(account.name, limit=limit[0], hours=limit[1], clock=tools.clock) if limit else None
        self._limits = Limits(CAPABILITY.rates, time.monotonic, most=account.rate)
        self._renderer = Renderer(InApp(), tools.cipher, tools.links, tools.clock)
        self._work = asyncio.Event()

    @property
    def tokens(self) -> int | None:
        """How many messages its rate lets come at this moment; None: as many as there are."""
        return self._limits.tokens

    def wake(self) -> None:
        """Says that rows are waiting."""
        self._work.set()

    async def run(self) -> None:
        """Until nothing has been waiting for a while, or another worker owns the account."""
        if not await self._tools.locks.take(self.account.name):
            return
        try:
            if self._quota is not None:
                async with self._db.transaction() as session:
                    await self._quota.load(session)
            await self._look()
        finally:
            await to_the_end(self._leave())

    async def _look(self) -> None:
        resting = time.monotonic()
        while True:
            self._work.clear()
            room = self._room
            try:
                # One owner at a time, or what comes to an inbox would not come in its order.
                if not await self._tools.locks.take(self.account.name):
                    return
                found = await or_grace(asyncio.create_task(self._take(room))) if room else 0
            except (SQLAlchemyError, OSError, Unavailable) as error:
                if not (isinstance(error, Unavailable) or is_unavailable(error)):
                    raise
                log.warning("sender_waits", account=self.account.name, reason=type(error).__name__)
                await asyncio.sleep(WAIT_SECONDS)
                continue
            if found or not room:
                resting = time.monotonic()
            elif time.monotonic() - resting > REST_SECONDS:
                return
            if not found or found < room:
                await woken(self._work, self._limits.wait or IDLE_LOOK_SECONDS)

    @property
    def _room(self) -> int:
        most = [CAPABILITY.lines]
        if self._limits.tokens is not None:
            most.append(self._limits.tokens)
        if self._quota is not None:
            most.append(self._quota.standing.left)
        return min(most)

    async def _take(self, room: int) -> int:
        """Returns how many there were."""
        rows = await arrivals.due(self._tools.lanes.fetch, self.account.name, room)
        made = list(self._made(rows))
        coming = sum(each.draft is not None for each in made)
        # Before they come, so that no crash forgets one.
        await self._count(coming)
        settled = await self._arrivals.settle(made) if made else []
        await self._count(sum(each.state == DELIVERED for each in settled) - coming)
        for verdict in settled:
            DELIVERIES.labels(CAPABILITY.channel, verdict.state).inc()
            if verdict.tried:
                ATTEMPTS.labels(CAPABILITY.channel, verdict.error_class or "taken").inc()
        return len(rows)

    def _made(self, rows: Sequence[Row[Any]]) -> Iterator[Arrival]:
        contents: dict[tuple[Any, int], Content] = {}
        for row in rows:
            key = (row.batch_id, row.step)
            if row.content is not None:
                contents[key] = Content.model_validate_json(row.content)
            yield self._arrival(row, contents.get(key))

    def _arrival(self, row: Row[Any], content: Content | None) -> Arrival:
        if row.reason is not None:
            state = "expired" if row.reason == EXPIRED else "suppressed"
            return Arrival(Verdict(id=row.id, fence=row.fence, state=state, tried=False, reason=row.reason))
        try:
            draft = self._renderer.render(row, content)
        except CannotRender as error:
            log.warning("delivery_died", delivery_id=str(row.id), template=row.template, reason=error.reason)
            return Arrival(Verdict(id=row.id, fence=row.fence, state="dead", tried=False, reason=error.reason))
        self._limits.take(row.address)
        return Arrival(Verdict(id=row.id, fence=row.fence, state=DELIVERED), draft)

    async def _count(self, messages: int) -> None:
        """Of its day; fewer than none are given back."""
        if self._quota is None or not messages:
            return
        minute = self._quota.minute()
        async with self._db.transaction() as session:
            await self._quota.change(session, {minute: messages})
        self._quota.note(minute, messages)

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                await self._tools.locks.free(self.account.name)
        except (TimeoutError, SQLAlchemyError, OSError):
            log.warning("sender_keeps_account", account=self.account.name)
