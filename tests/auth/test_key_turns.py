"""Signing keys that rotate by themselves, at the far side of their time."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from auth_service import worker
from auth_service.domain.key_turns import KeyTurns
from libs.jwks import JwksKeys
from libs.keys import USER, Algorithm, KeyRing
from libs.tasks import stop
from libs.tokens import Verifier
from tests.auth.api import Api
from tests.auth.conftest import OpenApi

DAY = 86_400
MONTH = 30 * DAY
CSRF = "/api/csrf-token"


@pytest.fixture(params=get_args(Algorithm))
async def turning(request: pytest.FixtureRequest, open_api: OpenApi, tmp_path: Path) -> AsyncIterator[Api]:
    """An app with a ring and a clock of its own."""
    KeyRing.create(tmp_path / "ring.json", request.param)
    async with open_api(key_ring=tmp_path / "ring.json") as api:
        yield api


@pytest.fixture
async def one(open_api: OpenApi, tmp_path: Path) -> AsyncIterator[Api]:
    KeyRing.create(tmp_path / "ring.json", "ES256")
    async with open_api(key_ring=tmp_path / "ring.json") as api:
        yield api


def turns(api: Api, *, days: int = 30, path: Path | None = None) -> KeyTurns:
    """What each worker has."""
    return KeyTurns(api.db, KeyRing(path or api.ring._path), api.clock, days=days)


async def pass_by(api: Api, seconds: float) -> None:
    """So much later the worker looks, and each process at the file."""
    api.clock.advance(seconds)
    await turns(api).look()
    api.ring._looked = 0.0


def kids(ring: KeyRing) -> dict[str, str]:
    """The keys of access tokens by what they are for; one of each kind at most."""
    mine = [key for key in ring.all() if key.owner == USER]
    found = {key.state: key.kid for key in mine}
    assert len(found) == len(mine)
    return dict(found)


async def rotations(api: Api) -> list[str]:
    """The keys of this ring that the audit log says are signing now."""
    rows = await api.sql("SELECT data FROM audit WHERE action = 'signing_key.rotated' ORDER BY id")
    mine = {key.kid for key in api.ring.all()}
    return [row.data["kid"] for row in rows if row.data["kid"] in mine]


@pytest.mark.promise("A46")
async def test_the_next_key_signs_when_the_last_had_its_month(turning: Api) -> None:
    before = kids(turning.ring)
    await pass_by(turning, MONTH - 60)
    assert kids(turning.ring) == before
    await pass_by(turning, 120)
    after = kids(turning.ring)
    assert (after["active"], after["retiring"]) == (before["next"], before["active"])
    assert after["next"] not in before.values()
    assert await rotations(turning) == [after["active"]]


@pytest.mark.promise("A46")
async def test_what_was_signed_before_is_accepted_everywhere(turning: Api, tmp_path: Path) -> None:
    turning.ring.write_for("chat", tmp_path / "chat.json")
    published = JwksKeys(KeyRing(tmp_path / "chat.json"), "http://test/.well-known/jwks.json")
    await published.refresh(turning.http)
    turning.clock.advance(MONTH)
    made = await turning.register()
    await pass_by(turning, 0)
    later = (await turning.refresh(made.refresh)).json()["access"]
    for keys in (KeyRing(turning.ring._path), published):
        verifier = Verifier(keys, turning.clock)
        assert [verifier.verify(token).sub for token in (made.access, later)] == [str(made.id)] * 2
    for token in (made.access, later):
        assert (await turning.me(token)).status_code == 200


@pytest.mark.promise("A46")
async def test_a_key_is_gone_when_nothing_that_it_signed_lives(turning: Api) -> None:
    before = kids(turning.ring)["active"]
    await pass_by(turning, MONTH)
    await pass_by(turning, DAY)
    assert kids(turning.ring)["retiring"] == before
    await pass_by(turning, 60)
    assert kids(turning.ring).keys() == {"active", "next"}
    assert turning.ring.find(before) is None


@pytest.mark.promise("A46")
async def test_a_token_against_other_sites_outlives_the_turn_of_its_key(one: Api) -> None:
    one.clock.advance(MONTH)
    made = await one.register()
    token = (await one.get(CSRF, made.access)).json()["csrfToken"]
    await pass_by(one, 0)
    await pass_by(one, DAY - 1)
    assert one.app.state.csrf_verifier.verify(token)


@pytest.mark.promise("A46")
async def test_of_several_workers_one_rotates(turning: Api) -> None:
    before = kids(turning.ring)
    workers = [turns(turning) for _ in range(4)]
    turning.clock.advance(MONTH)
    for _ in range(2):
        await asyncio.gather(*(each.look() for each in workers))
    turning.ring._looked = 0.0
    assert kids(turning.ring)["active"] == before["next"]
    assert await rotations(turning) == [before["next"]]


@pytest.mark.promise("A46")
async def test_a_key_signs_after_it_was_known_for_a_day(one: Api) -> None:
    """The one that was waiting was revoked, and another took its place."""
    before = kids(one.ring)
    one.clock.advance(MONTH)
    edit(one.ring._path, "next", since=int(one.clock.seconds()))
    await pass_by(one, DAY - 60)
    assert kids(one.ring) == before
    await pass_by(one, 60)
    assert kids(one.ring)["active"] == before["next"]


@pytest.mark.promise("A46")
async def test_a_ring_without_a_next_key_gets_one_first(one: Api) -> None:
    before = kids(one.ring)
    edit(one.ring._path, "next", owner="chat")
    await pass_by(one, MONTH)
    made = kids(one.ring)
    assert (made["active"], made.keys()) == (before["active"], {"active", "next"})
    await pass_by(one, DAY)
    assert kids(one.ring)["active"] == made["next"]


async def test_keys_of_services_stay(one: Api) -> None:
    def services() -> set[tuple[str, str]]:
        return {(key.kid, key.state) for key in one.ring.all() if key.owner != USER}

    before = services()
    await pass_by(one, MONTH)
    assert services() == before


async def test_nothing_rotates_where_that_is_done_by_hand(one: Api) -> None:
    before = one.ring._path.read_bytes()
    one.clock.advance(100 * MONTH)
    await turns(one, days=0).look()
    assert one.ring._path.read_bytes() == before


@pytest.mark.promise("A46")
async def test_a_worker_lets_keys_rotate(alone: Api, tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "ring.json")
    before = kids(ring)
    settings = alone.app.state.settings.model_copy(update={"key_ring": ring._path, "key_rotation_days": 2})
    alone.clock.advance(2 * DAY)
    working = asyncio.create_task(worker.main(settings, alone.clock))
    try:
        async with asyncio.timeout(20):
            while kids(KeyRing(ring._path))["active"] == before["active"]:
                await asyncio.sleep(0.02)
    finally:
        await stop([working], patience=10)
    assert kids(KeyRing(ring._path))["active"] == before["next"]


@pytest.mark.promise("A46")
async def test_a_ring_that_cannot_be_written_stays_and_is_told_of_once(one: Api) -> None:
    one.clock.advance(MONTH)
    with TemporaryDirectory() as folder, capture_logs() as lines:
        path = Path(folder) / "ring.json"
        KeyRing.create(path)
        before = path.read_bytes()
        mine = turns(one, path=path)
        with read_only(path):
            await mine.look()
            await mine.look()
        told = [line for line in lines if line["event"] == "signing_keys_do_not_rotate"]
        assert path.read_bytes() == before
    assert len(told) == 1
    assert folder in told[0]["reason"]
    assert "AUTH_KEY_ROTATION_DAYS=0" in told[0]["advice"]


async def test_a_ring_of_public_keys_is_told_of_too(one: Api, tmp_path: Path) -> None:
    one.ring.write_for("chat", tmp_path / "chat.json")
    one.clock.advance(MONTH)
    with capture_logs() as lines:
        await turns(one, path=tmp_path / "chat.json").look()
    # Other apps of the process may have something to say of their own.
    assert [line["event"] for line in lines if "signing_key" in line["event"]] == ["signing_keys_do_not_rotate"]


async def test_the_age_of_the_key_is_measured(one: Api) -> None:
    await pass_by(one, 3 * DAY)
    assert 3 * DAY <= (REGISTRY.get_sample_value("parley_signing_key_age_seconds") or 0) < 4 * DAY
    await pass_by(one, MONTH)
    assert (REGISTRY.get_sample_value("parley_signing_key_age_seconds") or 0) > MONTH
    await pass_by(one, 60)
    assert (REGISTRY.get_sample_value("parley_signing_key_age_seconds") or 0) < DAY


def edit(path: Path, state: str, **changed: object) -> None:
    """As somebody who edits the file: an entry of the keys of access tokens."""
    document = json.loads(path.read_text())
    (entry,) = (each for each in document["keys"] if (each["owner"], each["state"]) == (USER, state))
    entry.update(changed)
    path.write_text(json.dumps(document))


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """As a secret is mounted. Root may write everywhere, so it is somebody else meanwhile."""
    path.chmod(0o444)
    path.parent.chmod(0o555)
    me = os.geteuid()
    os.seteuid(me or 65534)
    try:
        yield
    finally:
        os.seteuid(me)
        path.parent.chmod(0o755)
