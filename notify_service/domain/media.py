"""Files that people send us: fetched from the provider with the account's token, and kept once.

What a file is says its content alone. Who fetches holds no transaction meanwhile: it takes a file by moving its time,
and who dies with it leaves it to the next.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from libs import filenames, filetypes
from libs.crypto import CannotDecrypt, FieldCipher
from libs.db import Database
from libs.errors import NotFound
from libs.ids import uuid7
from notify_service.domain import accounts
from notify_service.domain.channels import ErrorClass, Outcome
from notify_service.domain.channels.http import Refused
from notify_service.domain.channels.inbound import Event
from notify_service.domain.channels.registry import PROVIDERS, WITH_FILES
from notify_service.models import Account, InboundFile, InboundMedia

# No page, no drawing that may hold a program, and nothing that a computer runs.
_TYPES = (
    *("image/jpeg", "image/png", "image/gif", "image/webp", "image/heic", "image/avif", "audio/*", "video/*"),
    *("text/plain", "application/pdf", "application/rtf", "application/zip", "application/x-ole-storage"),
    *("application/gzip", "application/vnd.*"),
)
_MOST_ITEMS, _MOST_A_DAY = 10, 100
_AT_ONCE = 3
_TIMEOUT_SECONDS, _LEASE_SECONDS = 300.0, 600
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 3600.0
_PATIENCE = timedelta(days=1)
NO_ACCOUNT, NOT_ALLOWED, FAULT = "no_account", "type_not_allowed", "fault"

log = structlog.get_logger()

_WANT = text(
    """
    INSERT INTO inbound_file (id, account, peer, message_id, item, reason, created_at, next_at)
    SELECT given.id, account.name, CAST(:peer AS text), CAST(:message AS uuid), given.item,
        CASE WHEN full_ THEN 'too_many' END, now(), CASE WHEN NOT full_ THEN now() END
    FROM account
    CROSS JOIN json_to_recordset(CAST(:items AS json)) AS given(id uuid, item jsonb)
    CROSS JOIN (
        SELECT count(*) >= :most AS full_ FROM inbound_file
        WHERE account = :account AND peer = :peer AND created_at > now() - interval '1 day') AS today
    WHERE account.name = :account AND account.provider = ANY(:providers)
    """
)
_TAKE = text(
    """
    UPDATE inbound_file SET next_at = now() + make_interval(secs => :lease), attempts = attempts + 1
    WHERE id IN (
        SELECT id FROM inbound_file WHERE next_at <= now() ORDER BY next_at LIMIT :most FOR UPDATE SKIP LOCKED)
    RETURNING id, account, item, attempts, created_at
    """
)
# The row is locked either way: who cleans up must see that somebody has just sent it again.
_KEEP = text(
    """
    INSERT INTO inbound_media (sha256, type, size, content, kept_at) VALUES (:sha256, :type, :size, :content, now())
    ON CONFLICT (sha256) DO UPDATE SET kept_at = now()
    """
)
_ARRIVED = text("UPDATE inbound_file SET sha256 = :sha256, reason = NULL, next_at = NULL WHERE id = :id")
_FAILED = text(
    "UPDATE inbound_file SET reason = :reason, next_at = now() + make_interval(secs => CAST(:wait AS float)) "
    "WHERE id = :id"
)


@dataclass(frozen=True, slots=True)
class File:
    """One that somebody sent. `type` and `size` once it is here."""

    row: InboundFile
    type: str | None
    size: int | None


async def want(db: AsyncSession, account: str, message: UUID, event: Event) -> None:
    """Has the files of a message fetched, where the provider gives them."""
    given = (event.media or {}).get("items", [])
    items = [{"id": str(uuid7()), "item": item} for item in given[:_MOST_ITEMS]]
    if items:
        values = {"account": account, "peer": event.peer, "message": message, "items": json.dumps(items)}
        await db.execute(_WANT, {**values, "providers": list(WITH_FILES), "most": _MOST_A_DAY})


async def page(db: AsyncSession, account: str, peer: str, *, before: UUID | None, limit: int) -> Sequence[File]:
    """What somebody has sent to an account, newest first; one more than `limit` if there are more. Raises NotFound."""
    if await db.get(Account, account) is None:
        raise NotFound
    query = (
        select(InboundFile, InboundMedia.type, InboundMedia.size)
        .outerjoin(InboundMedia, InboundMedia.sha256 == InboundFile.sha256)
        .where(InboundFile.account == account, InboundFile.peer == peer)
        .order_by(InboundFile.id.desc())
        .limit(limit + 1)
    )
    if before is not None:
        query = query.where(InboundFile.id < before)
    return [File(*row) for row in (await db.execute(query)).all()]


async def read(db: AsyncSession, account: str, peer: str, file_id: UUID) -> tuple[File, bytes]:
    """With its content. Raises NotFound for one that is not here, or not of this thread."""
    query = (
        select(InboundFile, InboundMedia.type, InboundMedia.size, InboundMedia.content)
        .join(InboundMedia, InboundMedia.sha256 == InboundFile.sha256)
        .where(InboundFile.id == file_id, InboundFile.account == account, InboundFile.peer == peer)
    )
    found = (await db.execute(query)).one_or_none()
    if found is None:
        raise NotFound
    row, type_, size, content = found
    return File(row, type_, size), content


class Fetching:
    def __init__(self, db: Database, cipher: FieldCipher, *, most_bytes: int) -> None:
        self._db = db
        self._cipher = cipher
        self._most_bytes = most_bytes

    async def work(self) -> None:
        """One turn of the worker: all that is due."""
        while rows := await self._take():
            await asyncio.gather(*(self._one(row) for row in rows))

    async def _take(self) -> Sequence[Row[Any]]:
        async with self._db.transaction() as session:
            return (await session.execute(_TAKE, {"lease": _LEASE_SECONDS, "most": _AT_ONCE})).all()

    async def _one(self, row: Row[Any]) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                content = await self._download(row)
            kind, digest = await asyncio.to_thread(_looked_at, content)
        except Refused as error:
            await self._fail(row, error.outcome)
        except TimeoutError:
            await self._fail(row, Outcome(ErrorClass.TRANSIENT, "no_answer"))
        except Exception:
            # A file that trips over a mistake of ours must not keep all others from being fetched.
            log.exception("file_not_fetched", account=row.account, file=str(row.id))
            await self._fail(row, Outcome(ErrorClass.TRANSIENT, FAULT))
        else:
            await self._keep(row, content, {"type": kind, "sha256": digest})

    async def _download(self, row: Row[Any]) -> bytes:
        async with self._db.transaction() as session:
            account = await session.get(Account, row.account)
        provider = PROVIDERS.get(account.provider) if account else None
        if account is None or provider is None or provider.download is None:
            raise Refused(Outcome(ErrorClass.PERMANENT, NO_ACCOUNT))
        if filetypes.is_program(filenames.clean(str(row.item.get("filename", "")))):
            raise Refused(Outcome(ErrorClass.PERMANENT, NOT_ALLOWED))
        try:
            setup = accounts.setup_of(account, provider, self._cipher)
        except (ValueError, CannotDecrypt):
            raise Refused(Outcome(ErrorClass.AUTH, accounts.BAD_SETUP)) from None
        return await provider.download(setup, row.item, self._most_bytes)

    async def _keep(self, row: Row[Any], content: bytes, known: Mapping[str, str]) -> None:
        async with self._db.transaction() as session:
            await session.execute(_KEEP, {**known, "size": len(content), "content": content})
            await session.execute(_ARRIVED, {"sha256": known["sha256"], "id": row.id})

    async def _fail(self, row: Row[Any], outcome: Outcome) -> None:
        """Once more after a while, until a day has passed; not for what never comes."""
        reason = outcome.code or FAULT
        wait: float | None = min(_FIRST_WAIT * 2 ** min(row.attempts - 1, 20), _LONGEST_WAIT)
        async with self._db.transaction() as session:
            now = await session.scalar(text("SELECT now()"))
            if outcome.error is ErrorClass.PERMANENT or now - row.created_at > _PATIENCE:
                log.warning("file_given_up", account=row.account, file=str(row.id), reason=reason)
                wait = None
            await session.execute(_FAILED, {"id": row.id, "reason": reason, "wait": wait})


def _looked_at(content: bytes) -> tuple[str, str]:
    """Type and digest. Raises Refused."""
    found = filetypes.detect(content, _TYPES)
    if found is None:
        raise Refused(Outcome(ErrorClass.PERMANENT, NOT_ALLOWED))
    return found.content_type, sha256(content).hexdigest()
