"""What follows from what a provider tells of an account, or of somebody whom it reaches."""

import json
from datetime import datetime

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from notify_service.domain import accounts, effects, provider_templates, recipient_quotas
from notify_service.domain.channels import Effect, ErrorClass
from notify_service.domain.channels.inbound import Event
from notify_service.domain.channels.whatsapp_templates import APPROVED

_STATUSES = {"APPROVED": APPROVED, "REINSTATED": APPROVED}
# Told in any order: what happened last is what holds. Times are of one form, so that they compare as texts.
_TOLD = text(
    """
    UPDATE account SET told = told || CAST(:told AS jsonb)
    WHERE name = :account AND coalesce(told -> CAST(:code AS text) ->> 'at', '') <= :at
    RETURNING name
    """
)
# Of all accounts that share it. Whoever sends begins anew with it.
_LIMITED = text(
    """
    UPDATE account AS a SET config = a.config || CAST(:limit AS jsonb), version = a.version + 1, updated_at = :now
    FROM account AS told
    WHERE told.name = :account AND a.provider = told.provider AND a.config <> a.config || CAST(:limit AS jsonb)
        AND (a.name = told.name OR a.config ->> 'portfolio' = told.config ->> 'portfolio')
    RETURNING a.name
    """
)
_MOVED = tuple(
    map(
        text,
        (
            """
            INSERT INTO thread AS t (account, peer, alias, name, last_inbound_at)
            SELECT account, :to, :phone, name, last_inbound_at FROM thread WHERE account = :account AND peer = :peer
            ON CONFLICT (account, peer) DO UPDATE SET name = coalesce(t.name, excluded.name),
                last_inbound_at = greatest(t.last_inbound_at, excluded.last_inbound_at)
            """,
            "DELETE FROM thread WHERE account = :account AND peer = :peer",
            "UPDATE inbound_message SET peer = :to WHERE account = :account AND peer = :peer",
            "UPDATE inbound_file SET peer = :to WHERE account = :account AND peer = :peer",
            """
            INSERT INTO suppression (channel, address, category, reason, until, user_id, created_at)
            SELECT s.channel, :to, s.category, s.reason, s.until, s.user_id, now()
            FROM account AS a JOIN suppression AS s ON s.channel = a.channel AND s.address = :peer
            WHERE a.name = :account
            ON CONFLICT (channel, address, category) DO NOTHING
            """,
        ),
    )
)

log = structlog.get_logger()


async def apply(db: AsyncSession, account: str, event: Event, now: datetime) -> str:
    """Returns what came of it: `applied`, or `noted` for what is in the log alone."""
    log.info("account_told", account=account, code=event.code)
    if event.peer is not None:
        return await _of_somebody(db, account, event)
    if event.error is ErrorClass.AUTH:
        await accounts.refuse(db, account, str(event.data.get("event", event.code)).lower(), now)
    if event.code == "template":
        return await _template(db, account, event)
    if event.code in ("limit", "account"):
        await _tell(db, account, event, now)
        return "applied"
    return "applied" if event.error is ErrorClass.AUTH else "noted"


async def _tell(db: AsyncSession, account: str, event: Event, now: datetime) -> None:
    at = (event.at or now).isoformat()
    told = json.dumps({event.code: {**event.data, "at": at}})
    values = {"account": account, "code": event.code, "told": told, "at": at}
    is_news = await db.scalar(_TOLD, values) is not None
    if is_news and event.code == "limit":
        changed = await db.scalars(_LIMITED, {"account": account, "limit": json.dumps(event.data), "now": now})
        await recipient_quotas.release(db, changed.all())


async def _of_somebody(db: AsyncSession, account: str, event: Event) -> str:
    """Who has blocked us or come back, wants no marketing or some again, or has another address."""
    known = (event.peer, event.data.get("phone"), event.data.get("user_id"))
    addresses = sorted({each for each in known if isinstance(each, str)})
    if event.code == "migrated":
        await _move(db, account, event)
    elif event.effect in (Effect.SUPPRESS, Effect.OPT_OUT):
        for each in addresses:
            await effects.suppress(db, account, each, event.effect, reason="provider")
    elif event.code == "unblocked":
        await effects.lift(db, account, addresses, Effect.SUPPRESS)
    elif event.code == "marketing":
        await effects.lift(db, account, addresses, Effect.OPT_OUT)
    else:
        return "noted"
    return "applied"


async def _move(db: AsyncSession, account: str, event: Event) -> None:
    values = {"account": account, "peer": event.peer, "to": event.data["to"], "phone": event.data.get("phone")}
    if values["to"] != event.peer:
        for step in _MOVED:
            await db.execute(step, {name: value for name, value in values.items() if f":{name}" in step.text})


async def _template(db: AsyncSession, account: str, event: Event) -> str:
    status = event.data["status"] if event.effect else _STATUSES.get(event.data["status"])
    if status is None:
        # As FLAGGED, with which it may still be sent.
        return "noted"
    named = {"name": event.data["name"], "language": event.data["language"]}
    await provider_templates.heard(db, account, **named, status=status)
    return "applied"
