"""What became of each recipient, as a table for spreadsheets (RFC 4180)."""

import csv
import io
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select

from libs.clock import rfc3339
from libs.db import Database
from notify_service.domain import devices
from notify_service.models import Delivery

COLUMNS = (
    "id", "address", "state", "reason", "attempts", "error_code", "account", "created_at", "sent_at", "delivered_at",
    "read_at",
)  # fmt: skip
_CHUNK = 1000
_FIRST = UUID(int=0)
# What spreadsheets take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


async def sheet(database: Database, query: Select[Delivery]) -> AsyncIterator[bytes]:
    """A heading and a line for each delivery of the query, oldest first. However many there are, no more than a
    thousand are in memory; each is as it is when its turn comes."""
    yield _written([COLUMNS])
    after = _FIRST
    while True:
        async with database.transaction() as db:
            some = query.where(Delivery.id > after).order_by(Delivery.id).limit(_CHUNK)
            rows = (await db.scalars(some)).all()
        if rows:
            yield _written(_cells(row) for row in rows)
            after = rows[-1].id
        if len(rows) < _CHUNK:
            return


def _cells(row: Delivery) -> list[str]:
    values = {name: getattr(row, name) for name in COLUMNS}
    # That a worker has taken it is nobody's business outside.
    values["state"] = "queued" if row.state == "claimed" else row.state
    values["address"] = devices.shown(row.channel, row.user_id, row.address)
    return [_cell(value) for value in values.values()]


def _cell(value: object) -> str:
    text = "" if value is None else rfc3339(value) if isinstance(value, datetime) else str(value)
    # With an apostrophe before it, it stays a text.
    return f"'{text}" if text.startswith(_FORMULA) else text


def _written(rows: Iterable[Iterable[str]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue().encode()
