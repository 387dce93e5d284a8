"""Accounts that are asked what happened: one worker an account, and nothing lost or done twice when it dies.

What an account says and how far it was asked are stored in one transaction. Only the next question tells the provider
that the last answer has arrived.
"""

import asyncio
from dataclasses import dataclass, replace
from functools import partial

import structlog
from pydantic import BaseModel
from sqlalchemy import delete, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from libs.crypto import CannotDecrypt, FieldCipher
from libs.db import Database, is_unavailable
from libs.tasks import stop
from notify_service.domain import accounts, told
from notify_service.domain.channels.http import Refused
from notify_service.domain.channels.inbound import Source
from notify_service.domain.channels.registry import PROVIDERS
from notify_service.domain.locks import Locks
from notify_service.domain.told import Item
from notify_service.models import Account, Polling

_LOOK_SECONDS = 1.0
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 300.0
_FAULT = "fault"

log = structlog.get_logger()

# Another worker that has gone on from the same place has told the same: its cursor stays.
_GO_ON = text(
    """
    INSERT INTO polling AS p (account, cursor, polled_at) VALUES (:account, :after, now())
    ON CONFLICT (account) DO UPDATE SET cursor = excluded.cursor, fault = NULL, polled_at = excluded.polled_at
        WHERE p.cursor IS NOT DISTINCT FROM CAST(:before AS text)
    """
)
_FAILED = text(
    """
    INSERT INTO polling (account, fault, polled_at) VALUES (:account, :fault, now())
    ON CONFLICT (account) DO UPDATE SET fault = excluded.fault, polled_at = excluded.polled_at
    """
)


@dataclass(frozen=True, slots=True)
class _Asked:
    version: int
    task: "asyncio.Task[None] | None"
    """None: this account is told, and not asked."""


class Pollers:
    """A task for every account that is asked."""

    def __init__(self, db: Database, locks: Locks, cipher: FieldCipher) -> None:
        self._db = db
        self._locks = locks
        self._cipher = cipher
        self._asked: dict[str, _Asked] = {}

    async def run(self) -> None:
        try:
            while True:
                try:
                    await self._look()
                except (SQLAlchemyError, OSError) as error:
                    if not is_unavailable(error):
                        raise
                    log.warning("accounts_not_read", reason=type(error).__name__)
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            await stop([each.task for each in self._asked.values() if each.task])

    async def _look(self) -> None:
        async with self._db.transaction() as session:
            found = {each.name: each for each in await accounts.polled(session)}
        for name, asked in list(self._asked.items()):
            if name not in found or found[name].version != asked.version:
                del self._asked[name]
                if asked.task is not None:
                    await stop([asked.task])
                    await self._locks.free(_lock(name))
        for name in found.keys() - self._asked.keys():
            account = found[name]
            source = self._source(account)
            task = asyncio.create_task(self._ask(name, source)) if source else None
            self._asked[name] = _Asked(account.version, task)

    def _source(self, account: Account) -> Source | None:
        provider = PROVIDERS[account.provider]
        try:
            setup = replace(
                accounts.setup_of(account, provider, self._cipher),
                keep=partial(self._keep, account),
            )
            return provider.source(setup) if provider.source else None
        except (ValueError, CannotDecrypt):
            log.warning("account_fails", account=account.name, code=accounts.BAD_SETUP)
            return None

    async def _ask(self, name: str, source: Source) -> None:
        """For as long as the account is set up like this."""
        failures = 0
        while True:
            try:
                if not await self._locks.take(_lock(name)):
                    await asyncio.sleep(_LOOK_SECONDS)
                    continue
                found = await self._once(name, source)
                failures = 0
            except Exception as error:  # noqa: BLE001  -- noted below; the next look may not have it
                failures += 1
                wait = min(_FIRST_WAIT * 2 ** (failures - 1), _LONGEST_WAIT)
                await asyncio.sleep(await self._failed(name, error) or wait)
                continue
            if not found:
                await asyncio.sleep(source.rest_seconds)

    async def _once(self, name: str, source: Source) -> bool:
        """Whether there was anything."""
        async with self._db.transaction() as session:
            known = await session.get(Polling, name)
        before = known.cursor if known else None
        events, after = await source.fetch(before)
        async with self._db.transaction() as session:
            if events:
                await told.keep(session, [Item(name, event) for event in events])
            await session.execute(_GO_ON, {"account": name, "before": before, "after": after})
        return after != before

    async def _failed(self, name: str, error: Exception) -> float | None:
        """Notes it, where everybody sees it. How long the provider wants to be left alone, if it says so."""
        fault, pause = _FAULT, None
        if isinstance(error, Refused):
            fault, pause = error.outcome.code or _FAULT, error.outcome.pause_seconds
            log.warning("account_not_heard", account=name, code=fault)
        else:
            log.error("account_not_heard", account=name, exc_info=error)
        try:
            async with self._db.transaction() as session:
                await session.execute(_FAILED, {"account": name, "fault": fault})
        except (SQLAlchemyError, OSError):
            log.warning("fault_not_noted", account=name, code=fault)
        return pause

    async def _keep(self, account: Account, secrets: BaseModel) -> None:
        async with self._db.transaction() as session:
            await accounts.keep_secrets(session, account, secrets, self._cipher)


async def forget(db: AsyncSession, name: str) -> None:
    """For an account that is gone: another one of its name begins anew."""
    await db.execute(delete(Polling).where(Polling.account == name))


def _lock(name: str) -> str:
    """Beside that of who sends: a mailbox may be read by another worker."""
    return f"poll:{name}"
