"""A sender for every account with something to send."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import structlog
from pydantic import BaseModel
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from libs.db import Database, is_unavailable
from libs.tasks import stop
from notify_service.domain import accounts, queue, recipient_quotas
from notify_service.domain.accounts import CannotSetUp, Fixed
from notify_service.domain.channels import Channel
from notify_service.domain.inbox_sender import InboxSender
from notify_service.domain.orders import INAPP
from notify_service.domain.sender import Sender, Tools
from notify_service.domain.signals import SOMEWHERE, WAKE_CHANNEL
from notify_service.models import Account

_LOOK_SECONDS = 1.0
_PATIENCE_SECONDS = 20.0

log = structlog.get_logger()


class Senders:
    def __init__(
        self, db: Database, tools: Tools, fixed: Iterable[Fixed], of_inboxes: Callable[[Account], InboxSender]
    ) -> None:
        self._db = db
        self._tools = tools
        self._of_inboxes = of_inboxes
        self._fixed: Mapping[str, Channel] = {each.name: each.channel for each in fixed}
        self._senders: dict[str, Sender | InboxSender] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._work = asyncio.Event()

    def tokens(self) -> Mapping[tuple[str, ...], float]:
        """Of each account of ours, by channel and name, how many messages its rates let go at this moment."""
        ours = (each for name, each in self._senders.items() if self._tools.locks.holds(name))
        return {
            (each.account.channel, each.account.name): tokens for each in ours if (tokens := each.tokens) is not None
        }

    def wake(self, account: str = SOMEWHERE) -> None:
        """Says that there may be something to send, and of whom; without it that is found within a second."""
        sender = self._senders.get(account)
        if sender is None or self._tasks[account].done():
            self._work.set()
        else:
            sender.wake()

    async def run(self) -> None:
        try:
            while True:
                self._work.clear()
                try:
                    await self._look()
                except (SQLAlchemyError, OSError) as error:
                    if not is_unavailable(error):
                        raise
                    log.warning("queue_not_read", reason=type(error).__name__)
                self._end_of_those_done()
                await self._wait()
        finally:
            await stop(self._tasks.values(), patience=_PATIENCE_SECONDS)
            await self._tools.locks.close()

    async def _look(self) -> None:
        async with self._db.transaction() as session:
            waiting = await queue.waiting(session)
            # What has changed of those at work matters as well.
            found = {each.name: each for each in await accounts.named(session, waiting | self._senders.keys())}
        for name in self._senders.keys() - found.keys():
            await self._end(name)
        for name in waiting & found.keys():
            await self._serve(found[name])
        for name, account in found.items():
            sender = self._senders.get(name)
            if sender is not None and sender.account.version != account.version:
                await self._end(name)
                # By what it knew, it may have told some to wait that have room now.
                async with self._db.transaction() as session:
                    await recipient_quotas.release(session, [name])
                await self._serve(account)

    async def _serve(self, account: Account) -> None:
        sender = self._senders.get(account.name)
        if sender is None or self._tasks[account.name].done():
            sender = await self._sender_of(account)
            if sender is None:
                return
            self._senders[account.name] = sender
            self._tasks[account.name] = asyncio.create_task(sender.run())
        sender.wake()

    async def _sender_of(self, account: Account) -> Sender | InboxSender | None:
        if account.name == INAPP:
            return self._of_inboxes(account)
        channel = await self._channel_of(account)
        return Sender(self._db, account, channel, tools=self._tools) if channel else None

    async def _channel_of(self, account: Account) -> Channel | None:
        if account.source == accounts.SETTINGS:
            return self._fixed.get(account.name)
        try:
            keep = partial(self._keep, account)
            inside = self._tools.private_networks
            return accounts.open_channel(account, self._tools.cipher, keep, private_networks=inside)
        except CannotSetUp as error:
            log.warning("account_fails", account=account.name, code=error.reason)
            async with self._db.transaction() as session:
                await accounts.report(session, account, down_seconds=0, fault=error.reason)
            return None

    async def _keep(self, account: Account, secrets: BaseModel) -> None:
        async with self._db.transaction() as session:
            await accounts.keep_secrets(session, account, secrets, self._tools.cipher)

    async def _end(self, name: str) -> None:
        self._senders.pop(name, None)
        task = self._tasks.pop(name, None)
        if task is not None:
            await stop([task], patience=_PATIENCE_SECONDS)

    def _end_of_those_done(self) -> None:
        """Raises what has ended one: the worker starts anew."""
        for name, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[name], self._senders[name]
                error = task.exception()
                if error is not None and not is_unavailable(error):
                    raise error

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._work.wait()
        except TimeoutError:
            pass


async def listen(redis: Redis, senders: Senders) -> None:
    """Hears that there are deliveries. Senders look every second anyway, so silence is no failure."""
    while True:
        try:
            async with redis.pubsub() as wakes:
                await wakes.subscribe(WAKE_CHANNEL)
                while True:
                    told = await wakes.get_message(ignore_subscribe_messages=True, timeout=5.0)
                    if told is not None:
                        senders.wake(told["data"].decode())
        except (RedisError, OSError) as error:
            log.warning("wakes_not_heard", reason=type(error).__name__)
            await asyncio.sleep(1)
