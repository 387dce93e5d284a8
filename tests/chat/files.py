"""Files as an upload leaves them, for tests of messages that show them."""

from typing import Any
from uuid import uuid4

from sqlalchemy import text

from libs.clock import Clock
from libs.db import Database
from tests.chat.nodes import Person

_TYPES = {"image": "image/png", "audio": "audio/ogg", "video": "video/mp4", "file": "application/pdf"}


async def uploaded(database: Database, owner: Person, kind: str = "file", **more: Any) -> str:
    row = {
        "id": uuid4(),
        "owner_id": owner.id,
        "store_key": uuid4().hex,
        "name": f"a {kind}",
        "content_type": _TYPES[kind],
        "kind": kind,
        "size": 5,
        "created_at": Clock().now(),
        **more,
    }
    columns = ", ".join(row)
    values = ", ".join(f":{column}" for column in row)
    async with database.transaction() as db:
        await db.execute(text(f"INSERT INTO attachment ({columns}) VALUES ({values})"), row)
    return str(row["id"])


async def change(database: Database, table: str, where: str, value: dict[str, Any], **changed: Any) -> None:
    """Straight in the database, where the test is about something else than the way there."""
    assignments = ", ".join(f"{column} = :set_{column}" for column in changed)
    async with database.transaction() as db:
        await db.execute(
            text(f"UPDATE {table} SET {assignments} WHERE {where}"),
            {**value, **{f"set_{column}": new for column, new in changed.items()}},
        )
