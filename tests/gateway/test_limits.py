"""How often one may call, counted once for all processes, and by each for itself while Redis is away."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from structlog.testing import capture_logs

from deploy.local.servers import ValkeyServer
from tests.conftest import IssueToken
from tests.freezing import frozen
from tests.gateway.conftest import Door, Start, someone
from tests.gateway.wire import OK, answers

ANSWER = "/api/v1/messages"


async def statuses(
    door: Door, times: int, path: str = ANSWER, method: str = "GET", *, caller: str | None = None, **fields: str
) -> list[int]:
    return [(await door.ask(path, method, body=None, caller=caller, **fields)).status for _ in range(times)]


def shadowed(rule: str) -> float:
    """Requests that it would have refused."""
    return REGISTRY.get_sample_value("parley_gateway_shadowed_total", {"rule": rule}) or 0


@pytest.mark.promise("G12", "G15")
async def test_caller_over_the_limit_is_told_when_to_come_back(open_door: Start, caller: str) -> None:
    door = await open_door(limit_ip="3/min")
    assert await statuses(door, 3, caller=caller) == [200, 200, 200]
    answer = await door.ask(ANSWER, caller=caller)
    assert answer.status == 429
    assert 1 <= int(answer["retry-after"]) <= 20
    assert answer["ratelimit-policy"] == '"ip";q=3;w=60'
    assert answer["ratelimit"] == f'"ip";r=0;t={answer["retry-after"]}'
    problem = json.loads(answer.body)
    assert problem["code"] == "rate_limited"
    assert problem["details"] == {"limit": 3, "window_seconds": 60, "retry_after": int(answer["retry-after"])}
    again = await door.ask(ANSWER, caller=caller)
    assert (again.status, again["ratelimit-policy"]) == (429, '"ip";q=3;w=60')
    assert len(door.service.seen) == 3
    assert (await door.ask(ANSWER, caller=someone())).status == 200


@pytest.mark.promise("G15")
async def test_every_counted_answer_says_what_is_left(open_door: Start, caller: str) -> None:
    door = await open_door(limit_ip="5/min burst 3", limit_user="100/min by account")
    left = [(await door.ask(ANSWER, caller=caller))["ratelimit"].split(";")[1] for _ in range(3)]
    assert left == ["r=2", "r=1", "r=0"]


@pytest.mark.promise("G12")
async def test_dear_call_counts_as_several(open_door: Start, caller: str) -> None:
    routes = {"/api/v1/search": {"limits": ["ip*4"]}}
    door = await open_door(limit_ip="10/h", policy={"routes": routes})
    search = "/api/v1/search/messages"
    for path, status, left in ((search, 200, "6"), (ANSWER, 200, "5"), (search, 200, "1"), (search, 429, "0")):
        answer = await door.ask(path, caller=caller)
        assert (answer.status, answer["x-ratelimit-remaining"]) == (status, left)
    # What is left is enough for a cheaper one, also where the dear one is remembered to be too much.
    assert await statuses(door, 1, search, caller=caller) == [429]
    assert await statuses(door, 2, caller=caller) == [200, 429]


@pytest.mark.promise("G12")
async def test_refusal_names_the_limit_that_refused(open_door: Start, caller: str) -> None:
    """Also where another one has the caller wait as long."""
    door = await open_door(limit_login="1/min", limit_register="60/h burst 1")
    named = []
    for path in ("/api/v1/auth/login", "/api/v1/auth/register"):
        await door.ask(path, "POST", caller=caller)
        details = json.loads((await door.ask(path, "POST", caller=caller)).body)["details"]
        named.append((details["limit"], details["window_seconds"]))
    assert named == [(1, 60), (60, 3600)]


@pytest.mark.promise("G15", "K34")
@pytest.mark.parametrize("path", ["/api/v1/messages", "/api/communications/email/", "/api/auth/me", "/api/chat/rooms/"])
async def test_every_counted_answer_says_the_same_to_older_clients(open_door: Start, caller: str, path: str) -> None:
    door = await open_door(limit_ip="5/min burst 2")
    for status, left in ((200, "1"), (200, "0"), (429, "0"), (429, "0")):
        answer = await door.ask(path, caller=caller)
        assert (answer.status, answer["x-ratelimit-limit"], answer["x-ratelimit-remaining"]) == (status, "2", left)
        whole = datetime.strptime(answer["x-ratelimit-reset"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        wait = int(answer["ratelimit"].partition("t=")[2])
        assert wait <= 24
        assert whole <= datetime.now(UTC) + timedelta(seconds=wait + 2)
        assert answer["ratelimit-policy"].startswith('"ip";q=5;w=60')


@pytest.mark.promise("G15")
@pytest.mark.parametrize("name", ["X-RateLimit-Limit", "X-RateLimit-Remaining", "RateLimit"])
async def test_limit_that_a_service_counts_itself_is_the_one_that_is_told(
    open_door: Start, caller: str, name: str
) -> None:
    door = await open_door()
    door.service.behave = answers(OK.replace(b"Content-T", name.encode() + b": theirs\r\nContent-T"))
    answer = await door.ask(ANSWER, caller=caller)
    told = {field: value for field, value in answer.fields if "ratelimit" in field}
    assert told == {name.lower(): "theirs"}


@pytest.mark.promise("G15")
async def test_pages_of_other_origins_may_read_the_limits(open_door: Start, caller: str) -> None:
    door = await open_door(cors_origins=["https://app.example.com"])
    answer = await door.ask(ANSWER, caller=caller, Origin="https://app.example.com")
    exposed = answer["access-control-expose-headers"].lower().split(", ")
    told = {field for field, _ in answer.fields if "ratelimit" in field}
    assert len(told) == 5
    assert told <= set(exposed)


@pytest.mark.promise("G40")
async def test_limit_in_shadow_refuses_nobody_and_tells_the_operator(open_door: Start, caller: str) -> None:
    login = "/api/v1/auth/login"
    before = shadowed("limits.ip")
    with capture_logs() as logs:
        door = await open_door(limit_ip="2/h shadow", limit_login="4/h")
        found = [await door.ask(login, "POST", caller=caller) for _ in range(5)]
        async with asyncio.timeout(30):
            while shadowed("limits.ip") - before < 2:
                await asyncio.sleep(0.05)
    assert [answer.status for answer in found] == [200, 200, 200, 200, 429]
    assert {answer["ratelimit-policy"] for answer in found} == {'"login";q=4;w=3600'}
    # The fifth was refused by the limit that is none in shadow.
    told = [entry for entry in logs if entry["event"] == "would_have_refused"]
    assert shadowed("limits.ip") - before == sum(entry["requests"] for entry in told) == 2
    assert {entry["rule"] for entry in told} == {"limits.ip"}


@pytest.mark.promise("G40")
async def test_limit_in_shadow_is_counted_without_redis_too(open_door: Start, caller: str) -> None:
    door = await open_door(redis_url="redis://127.0.0.1:9/0", wait=False, limit_ip="1/h shadow")
    before = shadowed("limits.ip")
    assert await statuses(door, 3, caller=caller) == [200, 200, 200]
    async with asyncio.timeout(30):
        while shadowed("limits.ip") - before < 2:
            await asyncio.sleep(0.05)


@pytest.mark.promise("A7", "G13")
async def test_one_account_does_not_keep_the_hashing_busy(open_door: Start, issue_token: IssueToken) -> None:
    """From however many addresses: each of these calls costs as much as a sign-in, or as ten."""
    door = await open_door(limit_costly="3/h by account")
    one, other = [{"Authorization": f"Bearer {issue_token()}"} for _ in range(2)]
    for path in ("mfa/totp/confirm", "reauth", "mfa/recovery-codes"):
        assert await statuses(door, 1, f"/api/v1/auth/{path}", "POST", caller=someone(), **one) == [200]
    assert await statuses(door, 1, "/api/v1/users/me/password", "POST", caller=someone(), **one) == [429]
    assert await statuses(door, 1, "/api/v1/users/me", caller=someone(), **one) == [200]
    assert await statuses(door, 1, "/api/v1/users/me/password", "POST", caller=someone(), **other) == [200]


@pytest.mark.promise("W13")
async def test_two_gateways_share_one_limit(open_door: Start, caller: str) -> None:
    doors = [await open_door(limit_ip="4/min"), await open_door(limit_ip="4/min")]
    answers = [await door.ask(ANSWER, caller=caller) for _ in range(4) for door in doors]
    assert [answer.status for answer in answers].count(200) == 4


@pytest.mark.promise("W13")
async def test_burst_from_many_connections_gets_no_more(open_door: Start, caller: str) -> None:
    door = await open_door(limit_ip="10/h")
    answers = await asyncio.gather(*(door.ask(ANSWER, caller=caller) for _ in range(40)))
    assert [answer.status for answer in answers].count(200) == 10


@pytest.mark.promise("W13", "G13")
async def test_addresses_of_one_ipv6_network_share_a_limit(open_door: Start) -> None:
    door = await open_door(limit_ip="3/h")
    network = ":".join(someone().split(".")[2:])
    found = [(await door.ask(ANSWER, caller=f"2001:db8:{network}::{n:x}")).status for n in range(5)]
    assert found.count(200) == 3


@pytest.mark.promise("W13")
async def test_other_spellings_and_methods_of_a_route_share_its_limit(open_door: Start, caller: str) -> None:
    door = await open_door(limit_login="3/h")
    tries = [
        ("/api/v1/auth/token", "POST"),
        ("/api/v1/auth/token/", "HEAD"),
        ("/api/v1/auth/token?x=1", "OPTIONS"),
        ("/api/v1/auth/token", "GET"),
        ("/api/v1/auth/tok%65n", "POST"),
        ("/api/v1/auth/TOKEN", "POST"),
    ]
    found = [(await door.ask(path, method, caller=caller)).status for path, method in tries]
    assert found[:4] == [200, 200, 200, 429]
    assert found[4] == 400
    assert [seen.target for seen in door.service.seen if "TOKEN" in seen.target] == ["/api/v1/auth/TOKEN"]


@pytest.mark.promise("G14")
async def test_refusal_by_one_limit_is_not_counted_by_another(open_door: Start, redis: Redis, caller: str) -> None:
    door = await open_door(limit_ip="100/h", limit_login="2/h")
    assert (await statuses(door, 10, "/api/v1/auth/token", "POST", caller=caller)).count(200) == 2
    before = await redis.get(f"rl:ip:{caller}")
    await door.ask("/api/v1/auth/token", "POST", caller=caller)
    assert await redis.get(f"rl:ip:{caller}") == before
    answer = await door.ask(ANSWER, caller=caller)
    assert answer["ratelimit"].startswith('"ip";r=97')


async def test_classes_of_calls_have_limits_of_their_own(open_door: Start, caller: str) -> None:
    door = await open_door(
        limit_login="1/h", limit_register="1/h", limit_refresh="1/h", limit_recover="1/h", limit_socket="1/h"
    )
    paths = ["auth/token", "auth/register", "auth/token/refresh", "auth/password/forgot"]
    for path in [*(f"/api/v1/{path}" for path in paths), "/ws/"]:
        assert await statuses(door, 2, path, "POST", caller=caller) == [200, 429]


@pytest.mark.promise("K37")
@pytest.mark.parametrize("path", ["/api/v1/auth/otp/request", "/api/v1/auth/otp/request/"])
async def test_eleventh_request_for_a_code_is_refused_at_the_door(open_door: Start, caller: str, path: str) -> None:
    door = await open_door()
    found = await statuses(door, 14, path, "POST", caller=caller)
    assert found[:10] == [200] * 10
    assert 429 in found[10:]


async def test_only_posting_to_the_list_of_users_is_registering(open_door: Start, caller: str) -> None:
    door = await open_door(limit_register="1/h")
    assert await statuses(door, 2, "/api/v1/users/", "POST", caller=caller) == [200, 429]
    assert await statuses(door, 2, "/api/v1/users/", caller=caller) == [200, 200]
    assert await statuses(door, 2, "/api/v1/users/me", "POST", caller=caller) == [200, 200]


@pytest.mark.promise("G13")
async def test_accounts_are_counted_wherever_they_call_from(open_door: Start, issue_token: IssueToken) -> None:
    door = await open_door(limit_user="3/h by account")
    mine, other = issue_token(), issue_token()
    found = [(await door.ask(ANSWER, caller=someone(), Authorization=f"Bearer {mine}")).status for _ in range(4)]
    assert found == [200, 200, 200, 429]
    assert (await door.ask(ANSWER, caller=someone(), Authorization=f"Bearer {other}")).status == 200


async def test_exempt_network_is_not_counted_by_address(open_door: Start, issue_token: IssueToken) -> None:
    door = await open_door(limit_ip="1/h", limit_user="2/h by account")
    assert await statuses(door, 3) == [200, 200, 200]
    token = issue_token()
    assert await statuses(door, 3, Authorization=f"Bearer {token}") == [200, 200, 429]


@pytest.mark.promise("G16")
async def test_flood_of_refused_calls_costs_redis_nothing(open_door: Start, redis: Redis, caller: str) -> None:
    door = await open_door(limit_ip="2/h")
    await statuses(door, 3, caller=caller)
    before = (await redis.info("commandstats")).get("cmdstat_evalsha", {}).get("calls", 0)
    assert await statuses(door, 50, caller=caller) == [429] * 50
    after = (await redis.info("commandstats")).get("cmdstat_evalsha", {}).get("calls", 0)
    assert after - before == 0


@pytest.mark.promise("G12")
async def test_bad_tokens_and_unknown_paths_count_as_calls(open_door: Start, caller: str) -> None:
    door = await open_door(limit_ip="2/h")
    assert await statuses(door, 2, Authorization="Bearer x.y.z", caller=caller) == [401, 401]
    assert await statuses(door, 1, "/nowhere", caller=caller) == [429]


async def test_health_is_never_limited(open_door: Start, caller: str) -> None:
    door = await open_door(limit_ip="1/h")
    await statuses(door, 2, caller=caller)
    assert await statuses(door, 3, "/health/live", caller=caller) == [200, 200, 200]


@pytest.mark.promise("G18", "W14")
async def test_limits_hold_without_redis_and_return_to_it(open_door: Start, caller: str, tmp_path: Path) -> None:
    async with ValkeyServer() as server:
        door = await open_door(redis_url=server.url, limit_ip="3/h")
        assert (await statuses(door, 2, caller=caller)) == [200, 200]
        port = server.url
    await connected(door, is_so=False)
    assert port
    found = await statuses(door, 8, caller=caller)
    assert found == [200, 200, 200, 429, 429, 429, 429, 429]


@pytest.mark.promise("G19", "W14")
async def test_frozen_redis_costs_one_budget(open_door: Start, caller: str) -> None:
    """A server that accepts and never answers."""
    open_writers = []

    async def frozen(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_writers.append(writer)

    silent = await asyncio.start_server(frozen, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    door = await open_door(redis_url=f"redis://127.0.0.1:{port}/0", wait=False, limit_ip="3/h", redis_budget_ms=50)
    assert await statuses(door, 5, caller=caller) == [200, 200, 200, 429, 429]
    for writer in open_writers:
        writer.close()
    silent.close()


@pytest.mark.promise("W14")
async def test_paused_redis_is_answered_for_locally_and_trusted_again(open_door: Start, caller: str) -> None:
    async with ValkeyServer() as server:
        door = await open_door(redis_url=server.url, limit_ip="3/h", redis_budget_ms=50)
        with frozen(server):
            assert await statuses(door, 4, caller=caller) == [200, 200, 200, 429]
        other = Redis.from_url(server.url)
        await other.flushall()
        fresh = someone()
        async with asyncio.timeout(30):
            while await other.get(f"rl:ip:{fresh}") is None:
                await door.ask(ANSWER, caller=fresh)
                await asyncio.sleep(0.05)
        await other.aclose()


@pytest.mark.promise("W14")
async def test_read_only_redis_means_local_limits(open_door: Start, caller: str) -> None:
    async with ValkeyServer() as server:
        door = await open_door(redis_url=server.url, limit_ip="3/h")
        other = Redis.from_url(server.url)
        await other.replicaof("127.0.0.1", "1")
        assert await statuses(door, 5, caller=caller) == [200, 200, 200, 429, 429]
        await other.aclose()


@pytest.mark.promise("W14")
async def test_flushed_scripts_are_loaded_again(open_door: Start, redis: Redis) -> None:
    door = await open_door(limit_ip="1000/h")
    await redis.script_flush()
    fresh = someone()
    async with asyncio.timeout(30):
        while await redis.get(f"rl:ip:{fresh}") is None:
            assert (await door.ask(ANSWER, caller=fresh)).status == 200
            await asyncio.sleep(0.05)


async def connected(door: Door, *, is_so: bool) -> None:
    async with asyncio.timeout(30):
        while door.core.pipe.connected is not is_so:
            await asyncio.sleep(0.01)
