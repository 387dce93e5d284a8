"""What providers tell us: kept before it is answered, once however often it is told."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.lanes import Fetch
from notify_service.domain.batches import Batches
from notify_service.domain.channels import Effect, ErrorClass
from notify_service.domain.channels.inbound import Event

# Numbered as they were told, and stored in the order of their keys: two calls with the same ones do not wait for each
# other in a circle.
_KEEP = """
INSERT INTO told (id, account, dedupe_key, event, received_at, next_at)
SELECT number, account, dedupe_key, event, now(), now()
FROM (
    SELECT nextval('told_id_seq') AS number, given.*
    FROM json_to_recordset($1::json) AS given(account text, dedupe_key text, event jsonb) OFFSET 0
) AS numbered
ORDER BY account, dedupe_key
ON CONFLICT (account, dedupe_key) DO NOTHING
"""
_KEEP_WITH_OTHERS = text(_KEEP.replace("$1::json", "CAST(:items AS json)"))
_MOST = 500
_MAX_KEY = 300


@dataclass(frozen=True, slots=True)
class Item:
    account: str
    event: Event


@dataclass(frozen=True, slots=True)
class Heard:
    """A telling by its number, once it is kept."""

    id: int
    account: str
    event: Event


class Keeper:
    """Many calls, few commits: each waits for the commit that has what it told. Where that fails, all of them hear so,
    and their providers call again."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._writes: Batches[Sequence[Item], BaseException | None] = Batches(self._write, most=_MOST)

    async def run(self) -> None:
        await self._writes.run()

    async def keep(self, items: Sequence[Item]) -> None:
        """Returns after the commit. Raises what the database has raised."""
        if items and (error := await self._writes.put(items)):
            raise error

    async def _write(self, calls: Sequence[Sequence[Item]]) -> Sequence[BaseException | None]:
        try:
            # What is there already stays as it is, so running this twice does no harm.
            await self._fetch(_KEEP, _json(item for items in calls for item in items))
        except Exception as error:  # noqa: BLE001  -- each caller raises it
            return [error] * len(calls)
        return [None] * len(calls)


async def keep(db: AsyncSession, items: Iterable[Item]) -> None:
    """Those that were not told before."""
    await db.execute(_KEEP_WITH_OTHERS, {"items": _json(items)})


def _json(items: Iterable[Item]) -> str:
    return orjson.dumps([_row(item) for item in items]).decode()


def _row(item: Item) -> dict[str, Any]:
    key = _storable(item.event.dedupe_key[:_MAX_KEY])
    return {"account": item.account, "dedupe_key": key, "event": dumped(item.event)}


def dumped(event: Event) -> orjson.Fragment:
    """As JSON that PostgreSQL can store."""
    try:
        said = orjson.dumps(event)
    except TypeError:
        # Half of a surrogate pair.
        said = orjson.dumps(_storable(asdict(event)))
    # May be there without being a NUL: somebody may write the escape itself.
    if b"\\u0000" in said:
        said = orjson.dumps(_storable(orjson.loads(said)))
    return orjson.Fragment(said)


def loaded(given: Mapping[str, Any]) -> Event:
    values = dict(given)
    at, correlation = values.pop("at", None), values.pop("correlation", None)
    error, effect = values.pop("error", None), values.pop("effect", None)
    return Event(
        at=datetime.fromisoformat(at) if at else None,
        correlation=UUID(correlation) if correlation else None,
        error=ErrorClass(error) if error else None,
        effect=Effect(effect) if effect else None,
        **values,
    )


def _storable(value: Any) -> Any:
    """Without what JSON can say and PostgreSQL cannot hold."""
    if isinstance(value, str):
        return value.replace("\x00", "").encode(errors="replace").decode()
    if isinstance(value, Mapping):
        return {_storable(name): _storable(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(inner) for inner in value]
    return value


async def forget(db: AsyncSession, before: datetime) -> None:
    """Providers tell everything for some days, and then no more."""
    await db.execute(text("DELETE FROM told WHERE received_at < :before AND next_at IS NULL"), {"before": before})
