"""The public keys, and keys that change while tokens are in use."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
import uvicorn

from auth_service.__main__ import main
from auth_service.domain.administration import rotate_keys
from deploy.local.ports import free_port
from libs.clock import Clock
from libs.jwks import JwksKeys
from libs.keys import USER, KeyRing
from libs.revocation import KEEP_SECONDS
from libs.tasks import background
from libs.testing.tokens import access_claims, access_token
from libs.tokens import Verifier
from tests.auth.api import Api
from tests.auth.conftest import OpenApi

JWKS = "/.well-known/jwks.json"


@pytest.fixture
async def signing(open_api: OpenApi, tmp_path: Path) -> AsyncIterator[Api]:
    """An app that signs with ES256, and a ring of its own to rotate."""
    KeyRing.create(tmp_path / "ring.json", "ES256")
    async with open_api(key_ring=tmp_path / "ring.json") as api:
        yield api


def look_again(ring: KeyRing) -> None:
    """A second has passed, after which the file is looked at again."""
    ring._looked = 0.0


@pytest.mark.promise("A46")
async def test_public_keys_are_published_with_the_next_one(signing: Api) -> None:
    answer = await signing.get(JWKS)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/jwk-set+json"
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    mine = {key.kid: key for key in signing.ring.all() if key.owner == USER}
    published = answer.json()["keys"]
    assert {key["kid"] for key in published} == mine.keys()
    assert len(published) == 2
    for key in published:
        assert key.keys() == {"kty", "crv", "x", "y", "kid", "alg", "use"}
        assert (key["alg"], key["use"]) == ("ES256", "sig")
        assert mine[key["kid"]].jwk.thumbprint() == key["kid"]


@pytest.mark.promise("A46")
async def test_a_shared_secret_is_never_published(api: Api) -> None:
    assert (await api.get(JWKS)).json() == {"keys": []}


@pytest.mark.promise("A46")
async def test_unchanged_keys_are_not_sent_again(signing: Api) -> None:
    tag = (await signing.get(JWKS)).headers["ETag"]
    unchanged = await signing.get(JWKS, headers={"If-None-Match": f'"other", {tag}'})
    assert unchanged.status_code == 304
    assert unchanged.content == b""
    assert unchanged.headers["ETag"] == tag
    signing.ring.rotate(USER, keep_seconds=3600)
    changed = await signing.get(JWKS, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag


@pytest.mark.promise("A46")
async def test_a_service_with_public_keys_only_checks_tokens_across_rotations(signing: Api, tmp_path: Path) -> None:
    signing.ring.write_for("chat", tmp_path / "chat.json")
    keys = JwksKeys(KeyRing(tmp_path / "chat.json"), f"http://test{JWKS}")
    verifier = Verifier(keys, signing.clock)
    tokens = []
    for _ in range(3):
        await keys.refresh(signing.http)
        rotated_after_fetch = KeyRing(tmp_path / "ring.json")
        rotated_after_fetch.rotate(USER, keep_seconds=KEEP_SECONDS)
        look_again(signing.ring)
        tokens.append((await signing.register()).access)
        assert all(verifier.verify(token).sub for token in tokens)
    with pytest.raises(LookupError):
        KeyRing(tmp_path / "chat.json").signing_key(USER)


@pytest.mark.promise("A46", "A20")
async def test_no_request_is_refused_while_keys_rotate(either: Api) -> None:
    made = await either.register()
    path = either.ring._path
    refused: list[int] = []

    async def ask() -> None:
        token, access = made.refresh, made.access
        for _ in range(20):
            pair = await either.refresh(token)
            look = await either.me(access)
            refused.extend(a.status_code for a in (pair, look) if a.status_code != 200)
            token, access = pair.json()["refresh"], pair.json()["access"]

    asking = asyncio.create_task(ask())
    for _ in range(4):
        await asyncio.sleep(0.02)
        rotate_keys(path, USER, algorithm=None, only_new=False)
        look_again(either.ring)
    await asking
    assert not refused
    assert (await either.me(made.access)).status_code == 200


@pytest.mark.promise("A46")
async def test_tokens_of_a_revoked_key_are_refused_and_sessions_go_on(signing: Api) -> None:
    made = await signing.register()
    revoked = signing.ring.signing_key(USER).kid
    signing.ring.revoke(revoked, keep_seconds=KEEP_SECONDS)
    assert (await signing.me(made.access)).json()["code"] == "invalid_token"
    renewed = (await signing.refresh(made.refresh)).json()["access"]
    assert (await signing.me(renewed)).status_code == 200
    assert revoked not in {key["kid"] for key in (await signing.get(JWKS)).json()["keys"]}
    signing.ring.rotate(USER, keep_seconds=KEEP_SECONDS)
    assert (await signing.me(made.access)).status_code == 401
    assert (await signing.me(renewed)).status_code == 200


@pytest.mark.promise("A47", "T4")
async def test_unknown_key_ids_cause_no_fetching(signing: Api, tmp_path: Path) -> None:
    """Over a real socket: ten thousand forged tokens, and auth was asked once, at the start."""
    asked = 0

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        nonlocal asked
        asked += scope["type"] == "http"
        await signing.app(scope, receive, send)

    port = free_port()
    config = uvicorn.Config(cast(Any, counting), port=port, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    foreign = KeyRing.create(tmp_path / "foreign.json", "ES256")
    keys = JwksKeys(foreign, f"http://127.0.0.1:{port}{JWKS}")
    async with background(keys.run()):
        async with asyncio.timeout(20):
            while not keys.ready:
                await asyncio.sleep(0.01)
        fetched = asked
        for n in range(10_000):
            assert keys.find(f"unknown-{n}") is None
            if n % 1000 == 0:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert asked == fetched
        verifier = Verifier(keys, signing.clock)
        assert verifier.verify((await signing.register()).access)
    server.should_exit = True
    await serving


@pytest.fixture
def ring_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "new" / "keys.json"
    monkeypatch.setenv("PARLEY_KEY_RING", str(path))
    return path


def test_the_command_makes_a_ring_once(ring_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["rotate-keys", "--if-missing", "--algorithm", "ES256"])
    made = ring_file.read_bytes()
    assert KeyRing(ring_file).signing_key(USER).alg == "ES256"
    assert ring_file.stat().st_mode & 0o077 == 0
    main(["rotate-keys", "--if-missing"])
    assert ring_file.read_bytes() == made
    assert "ES256" in capsys.readouterr().out


def test_the_command_lets_the_next_key_sign_and_keeps_the_last(ring_file: Path) -> None:
    main(["rotate-keys"])
    ring = KeyRing(ring_file)
    old = ring.signing_key(USER)
    token = access_token(ring, access_claims("00000000-0000-0000-0000-000000000001"))
    main(["rotate-keys"])
    rotated = KeyRing(ring_file)
    assert rotated.signing_key(USER).kid != old.kid
    assert {key.state for key in rotated.all() if key.owner == USER} == {"next", "active", "retiring"}
    found = rotated.find(old.kid)
    assert found is not None
    assert Verifier(rotated, Clock()).verify(token)


def test_the_command_rotates_the_key_of_one_service(ring_file: Path) -> None:
    main(["rotate-keys"])
    before = {owner: KeyRing(ring_file).signing_key(owner).kid for owner in (USER, "chat", "auth")}
    main(["rotate-keys", "--owner", "chat"])
    after = {owner: KeyRing(ring_file).signing_key(owner).kid for owner in before}
    assert {owner for owner in before if before[owner] != after[owner]} == {"chat"}


@pytest.mark.promise("A46")
async def test_of_what_several_do_to_a_ring_at_once_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "ring.json"
    first = KeyRing.create(path).signing_key(USER).kid
    rings = [KeyRing(path) for _ in range(8)]
    rotating = [asyncio.to_thread(ring.rotate, USER, keep_seconds=3600) for ring in rings]
    await asyncio.gather(*rotating, asyncio.to_thread(KeyRing(path).revoke, first, keep_seconds=3600))
    states = Counter(key.state for key in KeyRing(path).all() if key.owner == USER)
    # The revocation may have come first, and rotated too.
    assert states["retiring"] in (7, 8)
    assert (states["revoked"], states["active"], states["next"]) == (1, 1, 1)
    assert KeyRing(path).find(first) is None


@pytest.mark.promise("A46")
@pytest.mark.parametrize("algorithm", ["HS256", "ES256"])
@pytest.mark.parametrize("state", ["next", "active", "retiring"])
def test_the_command_revokes_a_key(ring_file: Path, algorithm: str, state: str) -> None:
    main(["rotate-keys", "--algorithm", algorithm])
    main(["rotate-keys"])
    [kid] = [key.kid for key in KeyRing(ring_file).all() if (key.owner, key.state) == (USER, state)]
    main(["rotate-keys", "--revoke", kid])
    ring = KeyRing(ring_file)
    assert ring.find(kid) is None
    assert ring.signing_key(USER).kid != kid
    assert [key.state for key in ring.all() if key.owner == USER].count("next") == 1
    with pytest.raises(SystemExit, match="no key"):
        main(["rotate-keys", "--revoke", kid])


def test_the_command_writes_rings_in_which_only_ones_own_key_is_private(ring_file: Path, tmp_path: Path) -> None:
    main(["rotate-keys", "--algorithm", "ES256", "--out-dir", str(tmp_path / "rings")])
    assert sorted(path.name for path in (tmp_path / "rings").iterdir()) == ["chat.json", "gateway.json", "notify.json"]
    for service in ("chat", "notify", "gateway"):
        ring = KeyRing(tmp_path / "rings" / f"{service}.json")
        assert {key.owner for key in ring.all() if key.private} == {service}


@pytest.mark.parametrize("arguments", [["--owner", "nobody"], ["--algorithm", "ES256"]])
def test_the_command_refuses_what_the_ring_cannot_do(ring_file: Path, arguments: list[str]) -> None:
    main(["rotate-keys"])
    before = ring_file.read_bytes()
    with pytest.raises(SystemExit, match=r"Keys belong|HS256"):
        main(["rotate-keys", *arguments])
    assert ring_file.read_bytes() == before
