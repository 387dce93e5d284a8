"""A copy of everything that an account has, for its owner alone: made by the worker, kept encrypted for a week."""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import audit, quotas
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.kit import Kit
from auth_service.errors import ExportNotReady
from auth_service.models import Export
from libs.clock import Clock, rfc3339
from libs.crypto import CannotDecrypt, FieldCipher
from libs.db import Database, is_unavailable
from libs.errors import NotFound
from libs.ids import uuid7

KEEP = timedelta(days=7)
_DAY = timedelta(days=1)

# Section by section. Secrets and their hashes are in none: what proves who somebody is helps only a thief.
_SECTIONS = {
    "profile": """
        SELECT id, number, status, roles, first_name, last_name, bio, avatar_url, date_of_birth, language, timezone,
            privacy, preferences, direct_messages, allowed_countries, created_at, updated_at
        FROM users WHERE id = :user
    """,
    "identifiers": """
        SELECT kind, value, verified_at, created_at FROM identifiers WHERE user_id = :user ORDER BY kind
    """,
    "identities": """
        SELECT provider, subject, email, linked_at, last_used_at FROM identities WHERE user_id = :user ORDER BY id
    """,
    "sessions": """
        SELECT id, family, amr, aal, ip, country, user_agent, created_at, last_seen_at, expires_at, revoked_at,
            revoked_reason
        FROM sessions WHERE user_id = :user ORDER BY id
    """,
    "devices": "SELECT id, created_at, last_seen_at FROM devices WHERE user_id = :user ORDER BY id",
    "authenticator_app": "SELECT created_at, confirmed_at FROM totp WHERE user_id = :user",
    "passkeys": "SELECT id, name, created_at, last_used_at FROM passkeys WHERE user_id = :user ORDER BY id",
    "recovery_codes": "SELECT created_at, used_at FROM recovery_codes WHERE user_id = :user ORDER BY created_at",
    "api_tokens": """
        SELECT id, name, scopes, created_at, expires_at, last_used_at, revoked_at FROM api_tokens
        WHERE user_id = :user ORDER BY id
    """,
    "usage": """
        SELECT hour, route, calls, refused, errors, micros, latency FROM api_usage WHERE user_id = :user
        ORDER BY hour, route
    """,
    "location": "SELECT latitude, longitude, shared_at, expires_at FROM locations WHERE user_id = :user",
    "presence": "SELECT online, last_seen_at FROM presence WHERE user_id = :user",
    "contacts": "SELECT contact_id FROM contacts WHERE user_id = :user ORDER BY contact_id",
    "blocks": "SELECT blocked_id FROM blocks WHERE user_id = :user ORDER BY blocked_id",
    # Of what others did to the account, not where they did it from.
    "audit": """
        SELECT at, service, action, result, reason, subject_id = :user AS concerns_me, actor_id = :user AS by_me,
            CASE WHEN actor_id = :user THEN ip END AS ip, CASE WHEN actor_id = :user THEN country END AS country,
            CASE WHEN actor_id = :user THEN user_agent END AS user_agent
        FROM audit WHERE subject_id = :user OR actor_id = :user ORDER BY id
    """,
}

log = structlog.get_logger()


async def request(db: AsyncSession, kit: Kit, user_id: UUID, *, client: Client) -> Export:
    """One a day."""
    now = kit.clock.now()
    await quotas.take(db, f"export:{user_id}", most=1, window=_DAY, now=now)
    export = Export(id=uuid7(), user_id=user_id, state="waiting", requested_at=now, expires_at=now + KEEP)
    db.add(export)
    await db.flush()
    await audit.record(db, Entry(action="export.requested", actor_id=user_id, subject_id=user_id), client, now=now)
    return export


async def read(db: AsyncSession, export_id: UUID, user_id: UUID, *, now: datetime) -> Export:
    """Raises NotFound, also for somebody else's and when a week is over."""
    query = select(Export).where(Export.id == export_id, Export.user_id == user_id, Export.expires_at > now)
    export = await db.scalar(query)
    if export is None:
        raise NotFound
    return export


async def document(db: AsyncSession, kit: Kit, export_id: UUID, user_id: UUID, *, client: Client) -> dict[str, Any]:
    """Raises NotFound, and ExportNotReady."""
    now = kit.clock.now()
    export = await read(db, export_id, user_id, now=now)
    if export.state != "ready" or export.document is None:
        raise ExportNotReady
    try:
        opened: dict[str, Any] = json.loads(kit.cipher.decrypt(export.document, context(export.id)))
    except CannotDecrypt:
        # Its key was taken out of use.
        raise NotFound from None
    entry = Entry(action="export.downloaded", actor_id=user_id, subject_id=user_id)
    await audit.record(db, entry, client, now=now)
    return opened


async def make_waiting(database: Database, cipher: FieldCipher, clock: Clock) -> None:
    """One turn of the worker. A copy that cannot be made is given up, so that it holds up no other."""
    while True:
        async with database.transaction() as db:
            waiting = select(Export.id).where(Export.state == "waiting").order_by(Export.id).limit(1)
            export_id = await db.scalar(waiting)
        if export_id is None:
            return
        try:
            await _make(database, cipher, clock, export_id)
        except Exception as error:
            if is_unavailable(error):
                raise
            log.exception("export_failed", export_id=str(export_id))
            async with database.transaction() as db:
                await db.execute(update(Export).where(Export.id == export_id).values(state="failed"))


async def _make(database: Database, cipher: FieldCipher, clock: Clock, export_id: UUID) -> None:
    async with database.transaction() as db:
        mine = select(Export).where(Export.id == export_id, Export.state == "waiting")
        export = await db.scalar(mine.with_for_update())
        if export is None:
            return
        now = clock.now()
        copied = {name: await _rows(db, statement, export.user_id) for name, statement in _SECTIONS.items()}
        written = json.dumps({"made_at": rfc3339(now), **copied}, default=_plain, ensure_ascii=False)
        export.document = cipher.encrypt(written, context(export.id))
        export.state, export.ready_at, export.expires_at = "ready", now, now + KEEP
        log.info("export_made", export_id=str(export.id))


async def _rows(db: AsyncSession, statement: str, user_id: UUID) -> list[dict[str, Any]]:
    return [dict(row) for row in (await db.execute(text(statement), {"user": user_id})).mappings()]


def _plain(value: object) -> str:
    return rfc3339(value) if isinstance(value, datetime) else str(value)


def context(export_id: UUID) -> str:
    return f"export:{export_id}"
