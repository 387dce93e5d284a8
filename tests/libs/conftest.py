"""The notes service on real servers."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import BigInteger, Column, Identity, MetaData, Table, Text, Uuid, text

from deploy.local.servers import PostgresServer
from libs import consumer, outbox
from libs.db import Database, new_metadata
from libs.settings import ServiceSettings
from libs.testing.clients import client
from tests.libs.app import create_app


def notes_metadata() -> MetaData:
    metadata = new_metadata()
    Table(
        "note",
        metadata,
        Column("id", BigInteger, Identity(), primary_key=True),
        Column("author", Uuid, nullable=False),
        Column("text", Text, nullable=False),
    )
    outbox.add_tables(metadata)
    consumer.add_tables(metadata)
    return metadata


async def make_database(postgres: PostgresServer, name: str) -> str:
    url = await postgres.create_database(name)
    db = Database(url, service="notes")
    async with db.engine.begin() as connection:
        await connection.run_sync(notes_metadata().create_all)
        await connection.execute(text("INSERT INTO outbox_head VALUES (true, 0)"))
    await db.close()
    return url


@pytest.fixture(scope="session")
async def notes_url(postgres: PostgresServer) -> str:
    return await make_database(postgres, "notes_test")


@pytest.fixture(scope="session")
def settings(notes_url: str, redis_url: str, key_ring_path: Path) -> ServiceSettings:
    return ServiceSettings(
        database_url=notes_url,
        redis_url=redis_url,
        key_ring=key_ring_path,
        cors_origins=["https://app.example.com"],
        max_body_bytes=10_000,
    )


@pytest.fixture(scope="session")
async def app(settings: ServiceSettings) -> FastAPI:
    return create_app(settings)


@pytest.fixture(scope="session")
async def http(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    async with client(app) as connected:
        yield connected
