"""The chain of hashes over the audit log: who changes, removes or slips in a row breaks it at that row.

Each sealed row has a position (1, 2, 3 ...) and the SHA-256 of the row before and of itself. A log that was cut off at
its end looks whole; `audit_head`, which the worker writes to its own log once an hour, says how far it reached.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import BigInteger, Row, literal, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.errors import NotAllowed
from auth_service.models import AuditEvent
from libs.clock import rfc3339
from libs.db import Database

FIRST = b"\0" * 32
FORGOTTEN = "audit.forgotten"
_BATCH = 500
_LOWEST = -(1 << 63)
_COLUMNS = [column for column in AuditEvent.__table__.columns if column.name not in ("prev_hash", "hash")]
_ALL = [*_COLUMNS, AuditEvent.prev_hash, AuditEvent.hash]
_ONE_SEALER = text("SELECT pg_try_advisory_xact_lock(5071883)")
_SEAL = text(
    """
    UPDATE audit SET position = s.position, prev_hash = s.prev_hash, hash = s.hash
    FROM unnest(CAST(:ids AS bigint[]), CAST(:ats AS timestamptz[]), CAST(:positions AS bigint[]),
        CAST(:prev_hashes AS bytea[]), CAST(:hashes AS bytea[])) AS s (id, at, position, prev_hash, hash)
    WHERE audit.id = s.id AND audit.at = s.at
    """
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Link:
    """How far the chain reaches."""

    position: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Break:
    """The first row that is not what was sealed. `row` is None where it is missing."""

    position: int
    row: int | None
    problem: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`after` is where to go on when there is more; `end` is the last good row."""

    checked: int
    end: Link
    broken: Break | None = None
    after: int | None = None


async def seal(database: Database) -> int:
    """Seals everything that waits, in batches. Of several workers one does it; the others return at once."""
    sealed = 0
    while True:
        async with database.transaction() as db:
            count = await seal_batch(db) if await is_sealer(db) else 0
        sealed += count
        if count < _BATCH:
            return sealed


async def is_sealer(db: AsyncSession) -> bool:
    """Whether this transaction may seal; until it ends nobody else does."""
    return bool(await db.scalar(_ONE_SEALER))


async def seal_batch(db: AsyncSession) -> int:
    link = await head(db)
    waiting = select(*_COLUMNS).where(AuditEvent.position.is_(None)).order_by(AuditEvent.id).limit(_BATCH)
    rows = (await db.execute(waiting)).all()
    sealed: dict[str, list[Any]] = {name: [] for name in ("ids", "ats", "positions", "prev_hashes", "hashes")}
    for row in rows:
        following = _next(link, row)
        for name, value in zip(sealed, (row.id, row.at, following.position, link.hash, following.hash), strict=True):
            sealed[name].append(value)
        link = following
    if rows:
        await db.execute(_SEAL, sealed)
    return len(rows)


async def head(db: AsyncSession) -> Link:
    last = select(AuditEvent.position, AuditEvent.hash).where(AuditEvent.position.is_not(None))
    row = (await db.execute(last.order_by(AuditEvent.position.desc()).limit(1))).one_or_none()
    return Link(row.position, row.hash) if row else Link(0, FIRST)


async def tell_head(database: Database) -> None:
    """Outside of the database, so that an end that was cut off is noticed: see `docs/running.md`."""
    async with database.transaction() as db:
        link = await head(db)
    log.info("audit_head", position=link.position, hash=link.hash.hex())


async def verify(database: Database, *, after: int = 0, most: int = 100_000, anchor: Link | None = None) -> Verdict:
    """Computes the chain again from the row behind `after`. With `anchor`, an `audit_head` that was written down, that
    row must be what it was then. Reads in batches: rows that are sealed do not change meanwhile."""
    async with database.transaction() as db:
        forgotten = await forgotten_spans(db)
        walk = _Walk(await _begin(db, after), forgotten, anchor)
    seen: tuple[int, int] = (after, 1 << 62) if after else (_LOWEST, 0)
    while walk.checked < most:
        async with database.transaction() as db:
            rows = await _behind(db, seen)
        for row in rows:
            if problem := walk.take(row):
                return Verdict(walk.checked, walk.link, broken=problem)
        if len(rows) < _BATCH:
            return Verdict(walk.checked, walk.link, broken=walk.finish())
        seen = (rows[-1].position, rows[-1].id)
    return Verdict(walk.checked, walk.link, after=walk.link.position)


class _Walk:
    """From row to row, each compared with what it must be."""

    def __init__(self, link: Link, forgotten: "Sequence[Span]", anchor: Link | None) -> None:
        self.link = link
        self.checked = 0
        self._forgotten = {span.first: span for span in forgotten}
        self._anchor = anchor
        if self._anchor and self._anchor.position <= link.position:
            self._anchor = None

    def take(self, row: Row[Any]) -> Break | None:
        self._skip_forgotten()
        expected = self.link.position + 1
        if row.position > expected:
            return Break(expected, None, "missing")
        if row.position < expected:
            return Break(row.position, row.id, "inserted")
        if row.prev_hash != self.link.hash or row.hash != _next(self.link, row).hash:
            return Break(row.position, row.id, "changed")
        if self._anchor and row.position == self._anchor.position and row.hash != self._anchor.hash:
            return Break(row.position, row.id, "changed")
        self.link = Link(row.position, row.hash)
        self.checked += 1
        return None

    def finish(self) -> Break | None:
        """An anchor that was never reached: the end is missing."""
        if self._anchor and self._anchor.position > self.link.position:
            return Break(self.link.position + 1, None, "missing")
        return None

    def _skip_forgotten(self) -> None:
        while span := self._forgotten.get(self.link.position + 1):
            self.link = Link(span.last, span.hash)


@dataclass(frozen=True, slots=True)
class Span:
    """Rows that were forgotten on purpose, by their positions, and the hash of the last."""

    first: int
    last: int
    hash: bytes


async def forgotten_spans(db: AsyncSession) -> list[Span]:
    """Of the latest record of it; each one repeats those before."""
    records = select(AuditEvent.data).where(
        AuditEvent.action == FORGOTTEN, AuditEvent.service == "auth", AuditEvent.position.is_not(None)
    )
    data = await db.scalar(records.order_by(AuditEvent.id.desc()).limit(1))
    return [Span(first, last, bytes.fromhex(digest)) for first, last, digest in (data or {}).get("spans", [])]


async def _begin(db: AsyncSession, after: int) -> Link:
    if after == 0:
        return Link(0, FIRST)
    known = await db.scalar(select(AuditEvent.hash).where(AuditEvent.position == after).limit(1))
    if known is None:
        raise NotAllowed("after", "There is no row with this position.")
    return Link(after, known)


async def _behind(db: AsyncSession, seen: tuple[int, int]) -> Sequence[Row[Any]]:
    position, row = (literal(each, BigInteger) for each in seen)
    behind = tuple_(AuditEvent.position, AuditEvent.id) > tuple_(position, row)
    query = select(*_ALL).where(AuditEvent.position >= position, behind)
    return (await db.execute(query.order_by(AuditEvent.position, AuditEvent.id).limit(_BATCH))).all()


def _next(link: Link, row: Row[Any]) -> Link:
    content = {column.name: _json_value(getattr(row, column.name)) for column in _COLUMNS}
    content["position"] = link.position + 1
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return Link(link.position + 1, hashlib.sha256(link.hash + canonical.encode()).digest())


def _json_value(value: object) -> object:
    if hasattr(value, "astimezone"):
        return rfc3339(value)  # type: ignore[arg-type]
    return value if isinstance(value, dict | str | int | None) else str(value)
