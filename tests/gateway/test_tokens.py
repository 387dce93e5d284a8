"""Tokens at the edge: a bad one goes no further, and one that was revoked is refused at the very next request."""

import asyncio
import time
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from deploy.local.servers import ValkeyServer
from libs import revocation
from libs.keys import KeyRing
from libs.testing.tokens import access_claims
from libs.tokens import Issuer
from tests.conftest import IssueToken
from tests.gateway.conftest import Door, Start

ANSWER = "/api/v1/messages"


async def ask(door: Door, token: str, path: str = ANSWER) -> int:
    return (await door.ask(path, Authorization=f"Bearer {token}")).status


@pytest.mark.promise("G20")
async def test_good_token_passes_and_goes_on(door: Door, issue_token: IssueToken) -> None:
    token = issue_token()
    assert await ask(door, token) == 200
    assert door.service.last.get("authorization") == f"Bearer {token}"


@pytest.mark.promise("G20", "T14")
@pytest.mark.parametrize(
    ("token_claims", "code"),
    [({"exp": 1}, b"token_expired"), ({"aud": "other"}, b"invalid_token"), ({"sid": None}, b"invalid_token")],
)
async def test_bad_token_is_refused_at_the_door(
    door: Door, issue_token: IssueToken, token_claims: dict[str, object], code: bytes
) -> None:
    answer = await door.ask(ANSWER, Authorization=f"Bearer {issue_token(**token_claims)}")
    assert answer.status == 401
    assert code in answer.body
    assert answer["www-authenticate"] == "Bearer"
    assert door.service.seen == []


@pytest.mark.promise("G20", "W13")
@pytest.mark.parametrize("claim", ["iat", "nbf"])
async def test_clock_that_is_a_little_ahead_keeps_nobody_out(door: Door, issue_token: IssueToken, claim: str) -> None:
    now = int(time.time())
    assert await ask(door, issue_token(**{claim: now + 20})) == 200
    # Far beyond what clocks of one deployment may differ by.
    assert await ask(door, issue_token(**{claim: now + 120})) == 401


@pytest.mark.promise("L10")
async def test_half_a_sign_in_is_refused_at_the_door(door: Door, key_ring: KeyRing) -> None:
    token = Issuer(key_ring, typ="mfa+jwt").sign(access_claims(uuid4()))
    answer = await door.ask(ANSWER, Authorization=f"Bearer {token}")
    assert (answer.status, b"wrong_token_type" in answer.body) == (401, True)
    assert door.service.seen == []


@pytest.mark.parametrize("value", ["Bearer nonsense", "bearer a.b.c", "BEARER " + "x" * 5000, "Bearer \xe4.b.c"])
async def test_nonsense_for_a_token_is_refused(door: Door, value: str) -> None:
    answer = await door.ask(ANSWER, Authorization=value)
    assert answer.status == 401
    assert door.service.seen == []


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/api/communications/email/", b'"code": "token_not_valid"'),
        ("/api/auth/logout/", b'"success": false'),
        ("/api/auth/me", b'"TOKEN_EXPIRED"'),
        ("/api/chat/conversations/", b'"token_not_valid"'),
    ],
)
async def test_refusal_speaks_the_language_of_the_client(
    door: Door, issue_token: IssueToken, path: str, part: bytes
) -> None:
    answer = await door.ask(path, "POST", Authorization=f"Bearer {issue_token(exp=1)}")
    assert answer.status == 401
    assert part in answer.body


@pytest.mark.parametrize(
    "path", ["/api/v1/auth/token", "/api/v1/auth/register", "/api/auth/login/", "/api/users/token/refresh/", "/hooks/x"]
)
async def test_stale_token_does_not_keep_anybody_from_signing_in(
    door: Door, issue_token: IssueToken, path: str
) -> None:
    assert (await door.ask(path, "POST", Authorization=f"Bearer {issue_token(exp=1)}")).status == 200


@pytest.mark.promise("K20")
@pytest.mark.parametrize("value", ["", "Token x", "Bearer nonsense", "Bearer {expired}"])
async def test_hub_signs_out_whatever_its_header_says(door: Door, issue_token: IssueToken, value: str) -> None:
    header = value.format(expired=issue_token(exp=1))
    assert (await door.ask("/api/auth/logout", "POST", Authorization=header)).status == 200
    assert door.service.last.target == "/api/auth/logout"


async def test_what_is_no_token_of_ours_is_for_the_service_to_judge(door: Door) -> None:
    for value in ("Basic YTpi", "Bearer pat_abcdefgh", ""):
        assert (await door.ask(ANSWER, Authorization=value)).status == 200


@pytest.mark.promise("A48", "G20")
async def test_cookie_is_recognised_and_passed_on(door: Door, issue_token: IssueToken, redis: Redis) -> None:
    session = str(uuid4())
    cookie = f"theme=dark; __Host-at={issue_token(sid=session)}; csrf-token=x"
    assert (await door.ask(ANSWER, Cookie=cookie)).status == 200
    assert door.service.last.get("cookie") == cookie
    await revocation.publish_session(redis, session)
    answer = await door.ask(ANSWER, Cookie=cookie)
    assert (answer.status, b"token_revoked" in answer.body) == (401, True)


@pytest.mark.parametrize("kept", ["nonsense", "a.b.c", "", "x" * 5000])
async def test_bad_cookie_is_for_the_service_to_judge(door: Door, issue_token: IssueToken, kept: str) -> None:
    for value in (kept, issue_token(exp=1)):
        assert (await door.ask(ANSWER, Cookie=f"__Host-at={value}")).status == 200


@pytest.mark.promise("A61")
async def test_api_token_counts_by_itself_and_by_address(open_door: Start) -> None:
    door = await open_door(limit_user="3/h by account")
    one, two = "pat_" + "a" * 43, "pat_" + "b" * 43
    assert [await ask(door, one) for _ in range(4)] == [200, 200, 200, 429]
    assert await ask(door, two) == 200


@pytest.mark.promise("A48")
async def test_browser_and_program_of_one_user_share_a_limit(open_door: Start, issue_token: IssueToken) -> None:
    door = await open_door(limit_user="2/h by account")
    token = issue_token()
    assert (await door.ask(ANSWER, Cookie=f"__Host-at={token}")).status == 200
    assert await ask(door, token) == 200
    assert (await door.ask(ANSWER, Cookie=f"__Host-at={token}")).status == 429


@pytest.mark.promise("G20")
async def test_ended_session_is_refused_at_the_next_request(door: Door, issue_token: IssueToken, redis: Redis) -> None:
    user, session = uuid4(), str(uuid4())
    mine, elsewhere = issue_token(user, sid=session), issue_token(user)
    assert await ask(door, mine) == 200
    await revocation.publish_session(redis, session)
    answer = await door.ask(ANSWER, Authorization=f"Bearer {mine}")
    assert (answer.status, b"token_revoked" in answer.body) == (401, True)
    assert await ask(door, elsewhere) == 200


@pytest.mark.promise("G20")
async def test_tokens_before_a_users_epoch_are_refused(door: Door, issue_token: IssueToken, redis: Redis) -> None:
    user = uuid4()
    old = issue_token(user)
    new = issue_token(user, iat_ms=4_000_000_000_000)
    await revocation.publish_user(redis, str(user), 3_900_000_000_000)
    answer = await door.ask(ANSWER, Authorization=f"Bearer {old}")
    assert (answer.status, b"token_stale" in answer.body) == (401, True)
    assert await ask(door, new) == 200
    assert await ask(door, issue_token()) == 200


async def test_epoch_of_everybody_refuses_all_older_tokens(open_door: Start, issue_token: IssueToken) -> None:
    async with ValkeyServer() as server:
        door = await open_door(redis_url=server.url)
        token = issue_token()
        assert await ask(door, token) == 200
        other = Redis.from_url(server.url)
        await revocation.publish_everyone(other, 3_900_000_000_000)
        assert await ask(door, token) == 401
        assert await ask(door, issue_token(iat_ms=4_000_000_000_000)) == 200
        await other.aclose()


@pytest.mark.promise("W14")
async def test_ended_session_stays_ended_without_redis(open_door: Start, issue_token: IssueToken) -> None:
    session = str(uuid4())
    token = issue_token(sid=session)
    async with ValkeyServer() as server:
        door = await open_door(redis_url=server.url)
        other = Redis.from_url(server.url)
        await revocation.publish_session(other, session)
        async with asyncio.timeout(30):
            while session not in door.core.revocations._sessions:
                await asyncio.sleep(0.01)
        await other.flushall()
        await other.aclose()
        assert await ask(door, token) == 401
    async with asyncio.timeout(30):
        while door.core.pipe.connected:
            await asyncio.sleep(0.01)
    assert await ask(door, token) == 401
    assert await ask(door, issue_token()) == 200
