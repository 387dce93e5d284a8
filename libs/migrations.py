"""Migrations, one history a service: `alembic -n auth upgrade head`, or `upgrade` from code."""

import asyncio
import os
import re
from pathlib import Path

from alembic import command, context
from alembic.config import Config
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from libs.db import async_url

_ROOT = Path(__file__).resolve().parent.parent
_PARTITION = re.compile(r"_p(\d\d|\d{6}|_rest)$")
# Two migration jobs may start at once; the second waits and finds nothing to do.
_LOCK = 5_071_881


def config_of(service: str, url: str) -> Config:
    config = Config(str(_ROOT / "alembic.ini"), ini_section=service)
    config.attributes["url"] = url
    return config


def upgrade(service: str, url: str) -> None:
    """Brings the database of `service` to its newest version. Blocks; not to be called inside a running loop."""
    command.upgrade(config_of(service, url), "head")


def check(service: str, url: str) -> None:
    """Raises `alembic.util.CommandError` when models and migrations disagree."""
    command.check(config_of(service, url))


def run(metadata: MetaData) -> None:
    """The whole of a service's `env.py`."""
    service = context.config.config_ini_section
    url = context.config.attributes.get("url") or os.environ[f"{service.upper()}_DATABASE_URL"]
    asyncio.run(_run_online(url, metadata))


async def _run_online(url: str, metadata: MetaData) -> None:
    engine = create_async_engine(async_url(url), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_migrate, metadata)
        await connection.commit()
    await engine.dispose()


def _migrate(connection: Connection, metadata: MetaData) -> None:
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
    # A migration that waits for a lock makes every query behind it wait: better to fail and be run again.
    connection.execute(text("SET lock_timeout = '4s'"))
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_server_default=False,
        transaction_per_migration=True,
        include_object=_ours,
    )
    with context.begin_transaction():
        context.run_migrations()


def _ours(_object: object, name: str | None, kind: str, _reflected: bool, _compare_to: object) -> bool:  # noqa: FBT001
    """Leaves out partitions: they are children that PostgreSQL keeps like their parent."""
    return not (kind == "table" and name is not None and _PARTITION.search(name))
