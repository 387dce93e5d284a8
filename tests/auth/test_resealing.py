"""Encrypted fields move to a new key."""

import pytest
from prometheus_client import REGISTRY

from auth_service.domain import exports, resealing
from libs.crypto import FieldCipher
from tests.auth.api import Api
from tests.auth.factors import mfa_token, verify, with_totp

NEW = "new:HxwdGhsYGRYXFBUSExAREA8ODQwLCgkIBwYFBAMCAQA"
OLD = "dev:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"


def left(field: str) -> float | None:
    return REGISTRY.get_sample_value("parley_fields_under_older_keys", {"field": field})


async def keys_of(database: Api, table: str, column: str) -> set[str]:
    return {row.kid for row in await database.sql(f"SELECT split_part({column}, '.', 1) AS kid FROM {table}")}


@pytest.mark.promise("A33")
async def test_what_an_older_key_has_sealed_is_sealed_anew(alone: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resealing, "_BATCH", 2)
    people = [await with_totp(alone) for _ in range(5)]
    asked = await alone.post("/api/v1/users/me/exports", token=people[0].access)
    await exports.make_waiting(alone.db, alone.app.state.cipher, alone.clock)
    assert await resealing.renew(alone.db, FieldCipher(f"{NEW},{OLD}")) == 0
    assert (await keys_of(alone, "totp", "secret"), await keys_of(alone, "exports", "document")) == ({"new"}, {"new"})
    assert (left("totp"), left("export")) == (0, 0)
    assert await resealing.renew(alone.db, FieldCipher(f"{OLD},{NEW}")) == 0
    for person in people:
        assert person.app is not None
        token = await mfa_token(alone, person)
        assert (await verify(alone, token, "totp", person.app.next_code())).status_code == 200
    document = f"/api/v1/users/me/exports/{asked.json()['id']}/document"
    assert (await alone.get(document, people[0].access)).status_code == 200


@pytest.mark.promise("A33")
async def test_what_no_key_opens_is_counted_and_left(alone: Api) -> None:
    moved, other = await with_totp(alone), await with_totp(alone)
    await alone.sql(
        "UPDATE totp SET secret = (SELECT secret FROM totp WHERE user_id = :other) WHERE user_id = :id",
        id=moved.account.id,
        other=other.account.id,
    )
    assert await resealing.renew(alone.db, FieldCipher(f"{NEW},{OLD}")) == 1
    assert left("totp") == 1
    assert await resealing.renew(alone.db, FieldCipher(NEW)) == 1


async def test_nothing_is_written_when_nothing_is_older(alone: Api) -> None:
    await with_totp(alone)
    versions = await alone.sql("SELECT xmin::text AS version FROM totp")
    assert await resealing.renew(alone.db, FieldCipher(OLD)) == 0
    assert await alone.sql("SELECT xmin::text AS version FROM totp") == versions
