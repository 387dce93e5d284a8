"""The templates that a provider keeps for an account. They are known here, so that a content which they do not fit is
refused when it is asked for, and not when a thousand of it have failed."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from libs.crypto import CannotDecrypt, FieldCipher
from libs.db import Database
from libs.errors import NotFound
from notify_service.domain import accounts
from notify_service.domain.accounts import Chosen
from notify_service.domain.channels import Problem
from notify_service.domain.channels.http import Refused
from notify_service.domain.channels.registry import PROVIDERS
from notify_service.domain.channels.whatsapp_templates import APPROVED, Template, check_template
from notify_service.domain.content import Content
from notify_service.models import Account, ProviderTemplate, TemplateSync

HELD = "template"
"""Why a batch waits, and its campaign is paused."""
_EVERY_SECONDS, _AFTER_FAILURE_SECONDS = 3600.0, 300.0
_LONGEST_SECONDS = 120.0
_SOON = text(
    """
    INSERT INTO template_sync (account, next_at) VALUES (:account, now())
    ON CONFLICT (account) DO UPDATE SET next_at = least(template_sync.next_at, now())
    """
)
# Whoever takes one has moved it into the future: another worker leaves it alone.
_TAKE = text(
    """
    UPDATE template_sync SET next_at = now() + make_interval(secs => :seconds) WHERE account = (
        SELECT s.account FROM template_sync AS s JOIN account AS a ON a.name = s.account AND a.enabled
        WHERE s.next_at <= now() ORDER BY s.next_at LIMIT 1 FOR UPDATE OF s SKIP LOCKED)
    RETURNING account, now() AS begun
    """
)
# What a webhook has told since the provider was asked is newer than its answer.
_KEEP = text(
    """
    WITH given AS (
        SELECT * FROM json_to_recordset(CAST(:templates AS json)) AS each(
            name text, language text, status text, category text, header text, body int, buttons jsonb, beyond text)
    ),
    gone AS (
        DELETE FROM provider_template AS p WHERE account = :account AND updated_at < :begun
            AND NOT EXISTS (SELECT FROM given WHERE given.name = p.name AND given.language = p.language)
    )
    INSERT INTO provider_template AS p (account, name, language, status, category, header, body, buttons, beyond,
        updated_at)
    SELECT :account, name, language, status, category, header, body, buttons, beyond, CAST(:begun AS timestamptz)
    FROM given
    ON CONFLICT (account, name, language) DO UPDATE SET status = excluded.status, category = excluded.category,
        header = excluded.header, body = excluded.body, buttons = excluded.buttons, beyond = excluded.beyond,
        updated_at = excluded.updated_at
    WHERE p.updated_at < excluded.updated_at
    """
)
_SYNCED = text("UPDATE template_sync SET synced_at = now(), fault = NULL WHERE account = :account")
_FAILED = text(
    """
    UPDATE template_sync SET fault = :fault, next_at = least(next_at, now() + make_interval(secs => :seconds))
    WHERE account = :account
    """
)
# One webhook speaks of a business, which may have several numbers, each an account of ours.
_SAME_BUSINESS = text(
    """
    SELECT a.name FROM account AS a JOIN account AS told ON told.name = :account AND told.provider = a.provider
    WHERE a.name = told.name OR a.config ->> 'business_account_id' = told.config ->> 'business_account_id'
    """
)
_STATUS = text(
    """
    UPDATE provider_template SET status = :status, updated_at = now()
    WHERE account = :account AND name = :name AND language = :language
    """
)
_NAMED = """
    t.account = :account AND t.name = content -> 'template' ->> 'name'
        AND t.language = coalesce(content -> 'template' ->> 'language', 'en_US')
"""
# Of what was sent to many: who sent a single message would rather hear at once that it has failed.
_HOLD = text(
    f"""
    WITH RECURSIVE head AS (
        (SELECT lane, queue FROM delivery WHERE account = :account AND state IN ('queued', 'retry')
         ORDER BY lane, queue LIMIT 1)
        UNION ALL
        SELECT next.* FROM head, LATERAL (
            SELECT lane, queue FROM delivery WHERE account = :account AND state IN ('queued', 'retry')
                AND (lane, queue) > (head.lane, head.queue)
            ORDER BY lane, queue LIMIT 1) AS next
    )
    UPDATE batch SET held = true, hold_reason = :reason
    WHERE NOT held AND id IN (SELECT CAST(nullif(split_part(queue, '/', 2), '') AS uuid) FROM head)
        AND EXISTS (SELECT FROM provider_template AS t WHERE {_NAMED} AND t.status <> :approved)
    RETURNING id
    """  # noqa: S608  -- constants
)
# What somebody has put on hold as well has no reason, and stays.
_LET_GO = text(
    f"""
    UPDATE batch SET held = false, hold_reason = NULL
    WHERE held AND hold_reason = :reason
        AND EXISTS (SELECT FROM provider_template AS t WHERE {_NAMED} AND t.status = :approved)
        AND EXISTS (SELECT FROM delivery AS d WHERE d.batch_id = batch.id AND d.account = :account)
    RETURNING id
    """  # noqa: S608  -- constants
)
# Campaigns let their batches go themselves, when they are looked at.
_LOOK_AGAIN = text(
    f"""
    UPDATE campaign SET stale = true WHERE id IN (
        SELECT c.id FROM campaign AS c WHERE c.account = :account AND c.state = 'paused' AND c.fault = :reason
            AND EXISTS (SELECT FROM provider_template AS t WHERE {_NAMED} AND t.status = :approved)
        ORDER BY c.id FOR UPDATE)
    """  # noqa: S608  -- constants
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an account's templates. `synced_at` None: nothing yet."""

    synced_at: datetime | None
    fault: str | None
    templates: Sequence[ProviderTemplate]


async def schedule(db: AsyncSession, account: Account) -> None:
    """Has them asked for in a moment, if its provider keeps any."""
    provider = PROVIDERS.get(account.provider)
    if provider is not None and provider.templates is not None:
        await db.execute(_SOON, {"account": account.name})


async def sync(db: AsyncSession, name: str) -> None:
    """The same for somebody who asks. Raises NotFound for an account without templates."""
    await _standing(db, name)
    await db.execute(_SOON, {"account": name})


async def page(db: AsyncSession, account: str, *, after: tuple[str, str] | None, limit: int) -> Known:
    """In the order of their names, one more than `limit` if there are more. Raises NotFound, likewise."""
    found = await _standing(db, account)
    query = select(ProviderTemplate).where(ProviderTemplate.account == account)
    query = query.order_by(ProviderTemplate.name, ProviderTemplate.language).limit(limit + 1)
    if after is not None:
        query = query.where(tuple_(ProviderTemplate.name, ProviderTemplate.language) > tuple_(*after))
    return Known(found.synced_at, found.fault, (await db.scalars(query)).all())


async def problems(db: AsyncSession, account: Account | Chosen, content: Content) -> Sequence[Problem]:
    """Why the account's provider would not take this content's template. Nothing of an account whose templates nobody
    has heard of yet: there the provider decides."""
    provider = PROVIDERS.get(account.provider)
    if content.template is None or provider is None or provider.templates is None:
        return ()
    known = await db.scalar(select(TemplateSync.synced_at).where(TemplateSync.account == account.name))
    if known is None:
        return ()
    named = (ProviderTemplate.account == account.name, ProviderTemplate.name == content.template.name)
    rows = (await db.scalars(select(ProviderTemplate).where(*named))).all()
    return check_template(content.template, [_template(row) for row in rows])


async def heard(db: AsyncSession, account: str, *, name: str, language: str, status: str) -> None:
    """The provider has told that a template has another status. All of it is asked for anew, and what would use the
    template waits, or goes on."""
    for each in (await db.scalars(_SAME_BUSINESS, {"account": account})).all():
        values = {"account": each, "name": name, "language": language, "status": status}
        await db.execute(_STATUS, values)
        await db.execute(_SOON, {"account": each})
        await _settle(db, each)


async def work(database: Database, cipher: FieldCipher) -> None:
    """One turn of the worker: those whose time has come."""
    while True:
        async with database.transaction() as db:
            taken = (await db.execute(_TAKE, {"seconds": _EVERY_SECONDS})).first()
            account = await db.get(Account, taken.account) if taken else None
        if taken is None or account is None:
            return
        found = await _fetch(account, cipher)
        async with database.transaction() as db:
            if isinstance(found, str):
                log.warning("templates_not_synced", account=account.name, code=found)
                values = {"account": account.name, "fault": found, "seconds": _AFTER_FAILURE_SECONDS}
                await db.execute(_FAILED, values)
            else:
                await _keep(db, account.name, found, taken.begun)


async def _fetch(account: Account, cipher: FieldCipher) -> Sequence[Template] | str:
    """All of them, or why that failed."""
    provider = PROVIDERS.get(account.provider)
    if provider is None or provider.templates is None:
        return accounts.BAD_SETUP
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            return await provider.templates(accounts.setup_of(account, provider, cipher))
    except Refused as refused:
        return refused.outcome.code or str(refused.outcome.error)
    except TimeoutError:
        return "no_answer"
    except (ValueError, CannotDecrypt):
        return accounts.BAD_SETUP


async def _keep(db: AsyncSession, account: str, found: Iterable[Template], begun: datetime) -> None:
    # By name and language: a provider that repeats itself must not make the statement fail.
    rows: dict[tuple[str, str], dict[str, Any]] = {(each.name, each.language): asdict(each) for each in found}
    given = json.dumps(list(rows.values())).replace("\\u0000", "")
    await db.execute(_KEEP, {"account": account, "templates": given, "begun": begun})
    await db.execute(_SYNCED, {"account": account})
    await _settle(db, account)


async def _settle(db: AsyncSession, account: str) -> None:
    """What would go with a template that may not be sent waits; what waited for one that may goes on."""
    values = {"account": account, "approved": APPROVED, "reason": HELD}
    held = (await db.scalars(_HOLD, values)).all()
    gone = (await db.scalars(_LET_GO, values)).all()
    await db.execute(_LOOK_AGAIN, values)
    if held or gone:
        log.warning("batches_held", account=account, batches=len(held), resumed=len(gone), reason=HELD)


async def _standing(db: AsyncSession, account: str) -> TemplateSync:
    found = await db.get(TemplateSync, account)
    if found is None:
        raise NotFound
    return found


def _template(row: ProviderTemplate) -> Template:
    return Template(
        name=row.name,
        language=row.language,
        status=row.status,
        category=row.category,
        header=row.header,
        body=row.body,
        buttons=tuple(row.buttons),
        beyond=row.beyond,
    )
