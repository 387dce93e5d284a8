"""What people write to our accounts: kept once, and read in the order in which their provider has had it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from libs import outbox
from libs.contracts import notifications as contract
from libs.errors import NotFound
from libs.ids import uuid7
from notify_service.domain import effects, media
from notify_service.domain.channels import Effect
from notify_service.domain.happenings import HEARD
from notify_service.domain.told import Heard
from notify_service.models import Account, InboundMessage

# Characters of a message that customers' endpoints are told; all of it is kept.
_SHOWN = 4096
# Both in the order of their keys: two workers that hear the same people do not wait for each other in a circle.
_WROTE = text(
    """
    INSERT INTO thread AS t (account, peer, alias, name, last_inbound_at)
    SELECT account, peer, alias, name, at FROM json_to_recordset(CAST(:threads AS json))
        AS given(account text, peer text, alias text, name text, at timestamptz)
    ORDER BY account, peer
    ON CONFLICT (account, peer) DO UPDATE SET last_inbound_at = greatest(t.last_inbound_at, excluded.last_inbound_at),
        alias = coalesce(excluded.alias, t.alias), name = coalesce(excluded.name, t.name)
    """
)
_SAID = text(
    f"""
    WITH said AS (
        INSERT INTO inbound_message (id, account, peer, provider_id, text, media, data, at, received_at)
        SELECT id, account, peer, provider_id, text, media, data, at, now()
        FROM json_to_recordset(CAST(:messages AS json)) AS given(id uuid, account text, peer text, provider_id text,
            text text, media jsonb, data jsonb, at timestamptz)
        ORDER BY account, provider_id
        ON CONFLICT (account, provider_id) DO NOTHING RETURNING *
    ),
    told AS (
        INSERT INTO happening (type, data, at)
        SELECT 'message.received', jsonb_strip_nulls(jsonb_build_object('message_id', said.id, 'account', account.name,
            'channel', channel, 'peer', peer, 'text', left(text, {_SHOWN}), 'files', media IS NOT NULL,
            'data', CASE WHEN length(CAST(data AS text)) <= {_SHOWN} THEN data END)), at
        FROM said JOIN account ON account.name = said.account WHERE {HEARD} ORDER BY at, said.id
    )
    SELECT id FROM said
    """  # noqa: S608  -- constants
)


async def keep(db: AsyncSession, heard: Iterable[Heard], now: datetime) -> dict[int, str]:
    """What came of each: `applied`, `known` for a message that is here, `ignored` for what cannot be one."""
    given = list(heard)
    outcomes = {each.id: "ignored" for each in given}
    # By the provider's time, which is no later than ours; among those of one moment as they were told.
    timed = [(min(each.event.at or now, now), each) for each in given if each.event.peer and each.event.provider_id]
    if not timed:
        return outcomes
    timed.sort(key=lambda pair: (pair[0], pair[1].id))
    await db.execute(_WROTE, {"threads": orjson.dumps(_threads(timed)).decode()})
    for _, each in timed:
        if each.event.effect in (Effect.OPT_OUT, Effect.SUPPRESS):
            await effects.suppress(db, each.account, str(each.event.peer), each.event.effect)
    made = {uuid7(): (at, each) for at, each in timed}
    values = [_message(number, at, each) for number, (at, each) in made.items()]
    new = set(await db.scalars(_SAID, {"messages": orjson.dumps(values).decode()}))
    outcomes |= {each.id: "applied" if number in new else "known" for number, (_, each) in made.items()}
    await _tell(db, {number: each for number, (_, each) in made.items() if number in new}, now)
    return outcomes


def _threads(timed: Iterable[tuple[datetime, Heard]]) -> Sequence[Mapping[str, Any]]:
    """One for each person, as the last of their messages names them."""
    found: dict[tuple[str, str | None], dict[str, Any]] = {}
    for at, each in timed:
        person = found.setdefault((each.account, each.event.peer), {"account": each.account, "peer": each.event.peer})
        known = {"alias": each.event.data.get("phone"), "name": each.event.data.get("name")}
        person.update({"at": at, **{name: value for name, value in known.items() if value is not None}})
    return list(found.values())


def _message(number: UUID, at: datetime, heard: Heard) -> Mapping[str, Any]:
    event = heard.event
    return {
        "id": number,
        "account": heard.account,
        "peer": event.peer,
        "provider_id": event.provider_id,
        "text": event.text,
        "media": event.media,
        "data": event.data,
        "at": at,
    }


async def _tell(db: AsyncSession, new: Mapping[UUID, Heard], now: datetime) -> None:
    for number, each in new.items():
        await media.want(db, each.account, number, each.event)
    events = [
        contract.InboundMessage(message_id=number, account=each.account, peer=str(each.event.peer))
        for number, each in new.items()
    ]
    await outbox.add_all(db, events, now)


async def page(
    db: AsyncSession, account: str, peer: str, *, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[InboundMessage]:
    """What somebody has written to an account, the newest first by the provider's time; one more than `limit` if there
    are more. Raises NotFound."""
    if await db.get(Account, account) is None:
        raise NotFound
    query = select(InboundMessage).where(InboundMessage.account == account, InboundMessage.peer == peer)
    query = query.order_by(InboundMessage.at.desc(), InboundMessage.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(tuple_(InboundMessage.at, InboundMessage.id) < tuple_(*before))
    return (await db.scalars(query)).all()
