"""The migrations are the schema: from nothing, without extensions, the same as the models."""

import asyncio

import pytest
from alembic.script import ScriptDirectory

from libs import migrations
from tests.architecture.tree import ROOT
from tests.conftest import DatabaseUrl

SERVICES = ("auth", "chat", "notify")


@pytest.mark.promise("O3")
@pytest.mark.parametrize("service", SERVICES)
async def test_models_and_migrations_agree(database_url: DatabaseUrl, service: str) -> None:
    await asyncio.to_thread(migrations.check, service, await database_url(service))


@pytest.mark.parametrize("service", SERVICES)
async def test_migrating_twice_changes_nothing(database_url: DatabaseUrl, service: str) -> None:
    await asyncio.to_thread(migrations.upgrade, service, await database_url(service))


@pytest.mark.parametrize("service", SERVICES)
def test_there_is_one_head(service: str) -> None:
    scripts = ScriptDirectory.from_config(migrations.config_of(service, "postgresql://nobody@127.0.0.1/none"))
    assert len(scripts.get_heads()) == 1


@pytest.mark.parametrize("service", SERVICES)
def test_migrations_stand_alone(service: str) -> None:
    """No extension, for managed servers forbid some; no model, for a model is of today and a migration of its day."""
    for path in (ROOT / f"{service}_service/migrations/versions").glob("*.py"):
        source = path.read_text()
        assert "extension" not in source.lower()
        assert f"{service}_service" not in source
