"""A caller without an account who asks often is counted for several requests at once, and never gets more by it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from gateway.domain.client_ip import Callers
from gateway.domain.gcra import Limit
from gateway.domain.limits import Limiter
from gateway.domain.pipe import Pipe
from gateway.domain.shadow import Shadow
from gateway.domain.verdicts import Verdict
from tests.conftest import IssueToken
from tests.gateway.conftest import Door, Start
from tests.gateway.test_limits import ANSWER, shadowed

# The least rate that is leased: it adds next to nothing while a test runs.
LEASED = "20/s burst 400"


class Asked:
    """A limiter of its own, as if each request came on a connection of its own."""

    def __init__(self, limiter: Limiter, shadow: Shadow) -> None:
        self.limiter = limiter
        self.shadow = shadow
        self._callers = Callers(())

    async def ask(self, caller: str) -> Verdict:
        done: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        ask = self.limiter.ask(("ip",), self._callers.resolve(caller, ()), None, None)
        verdict = self.limiter.remembered(ask) or (ask.lease.spend() if ask.lease is not None else None)
        if verdict is not None:
            return verdict
        self.limiter.check(ask, done.set_result)
        return await done


@asynccontextmanager
async def limiter(redis_url: str, text: str, **options: int) -> AsyncIterator[Asked]:
    pipe = Pipe(redis_url, budget_seconds=5)
    shadow = Shadow()
    asked = Asked(Limiter({"ip": Limit.parse("ip", text)}, pipe, shadow, share=1, **options), shadow)
    running = asyncio.create_task(pipe.run_forever())
    async with asyncio.timeout(30):
        while not pipe.connected:
            await asyncio.sleep(0.005)
    yield asked
    running.cancel()
    pipe.close()


async def scripts(redis: Redis) -> int:
    """How often limits were asked for in Redis."""
    calls: int = (await redis.info("commandstats")).get("cmdstat_evalsha", {}).get("calls", 0)
    return calls


async def microseconds(redis: Redis) -> int:
    seconds, rest = await redis.time()
    return int(seconds) * 1_000_000 + int(rest)


async def flood(door: Door, caller: str, *, connections: int = 8, each: int = 40, **fields: str) -> Counter[int]:
    """Requests one after the other on some connections at once; how often which status came back."""
    lines = [f"GET {ANSWER} HTTP/1.1", "Host: a", f"X-Forwarded-For: {caller}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    request = "\r\n".join(lines).encode() + b"\r\n\r\n"

    async def one() -> Counter[int]:
        client = await door.connect()
        found: Counter[int] = Counter()
        for _ in range(each):
            await client.send(request)
            found[(await client.answer()).status] += 1
        return found

    return sum(await asyncio.gather(*(one() for _ in range(connections))), Counter())


@pytest.mark.promise("G17")
async def test_caller_who_asks_often_is_counted_ahead(open_door: Start, redis: Redis, caller: str) -> None:
    door = await open_door(limit_ip=LEASED)
    before = await scripts(redis)
    assert await flood(door, caller) == {200: 320}
    assert await scripts(redis) - before <= 32


@pytest.mark.promise("G17")
async def test_all_gateways_together_never_admit_more_than_the_limit(
    open_door: Start, redis: Redis, caller: str
) -> None:
    doors = [await open_door(limit_ip=LEASED) for _ in range(3)]
    began = await microseconds(redis)
    found = sum(await asyncio.gather(*(flood(door, caller, each=60) for door in doors)), Counter[int]())
    passed = await microseconds(redis) - began
    assert found.keys() == {200, 429}
    assert found[200] <= 400 + 20 * passed / 1_000_000 + 1


@pytest.mark.promise("G17")
async def test_what_is_counted_ahead_is_not_promised_twice(open_door: Start, redis: Redis, caller: str) -> None:
    """What an answer says is left is never more than Redis knows of."""
    door = await open_door(limit_ip=LEASED)
    client = await door.connect()
    for _ in range(60):
        await client.send(f"GET {ANSWER} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {caller}\r\n\r\n".encode())
        answer = await client.answer()
        ahead = int(await redis.get(f"rl:ip:{caller}") or 0) - await microseconds(redis)
        assert int(answer["x-ratelimit-remaining"]) <= 400 - ahead // 50_000
    assert int(answer["x-ratelimit-remaining"]) < 400


@pytest.mark.promise("G17")
async def test_calls_with_a_token_are_asked_for_one_by_one(
    open_door: Start, redis: Redis, caller: str, issue_token: IssueToken
) -> None:
    """In the same round trip it is learnt that the session has ended."""
    door = await open_door(limit_ip=LEASED, limit_user="20/s burst 400 by account")
    before = await scripts(redis)
    await flood(door, caller, connections=2, each=20, Authorization=f"Bearer {issue_token()}")
    assert await scripts(redis) - before == 40
    await flood(door, caller, connections=2, each=20, Authorization="Bearer pat_something")
    assert await scripts(redis) - before == 80


@pytest.mark.promise("G17")
@pytest.mark.parametrize("text", ["19/s burst 400", "1000/min burst 400", "50/s burst 39"])
async def test_small_limits_are_asked_for_one_by_one(open_door: Start, redis: Redis, caller: str, text: str) -> None:
    door = await open_door(limit_ip=text)
    before = await scripts(redis)
    assert await flood(door, caller, connections=2, each=15) == {200: 30}
    assert await scripts(redis) - before == 30


@pytest.mark.promise("G17")
async def test_who_asks_seldom_loses_nothing(redis: Redis, redis_url: str, caller: str) -> None:
    """Between two calls at least a lease's time passes: nothing is counted that does not come."""
    async with limiter(redis_url, LEASED) as asked:
        for _ in range(3):
            await asked.ask(caller)
            await asyncio.sleep(0.3)
        ahead = int(await redis.get(f"rl:ip:{caller}") or 0) - await microseconds(redis)
    assert ahead <= 50_000


@pytest.mark.promise("G17")
async def test_what_is_unspent_after_a_quarter_of_a_second_is_lost(redis: Redis, redis_url: str, caller: str) -> None:
    async with limiter(redis_url, LEASED) as asked:
        await asyncio.gather(*(asked.ask(caller) for _ in range(5)))
        await asyncio.sleep(0.3)
        before = await scripts(redis)
        await asked.ask(caller)
        assert await scripts(redis) - before == 1


@pytest.mark.promise("G17")
async def test_who_waits_for_a_call_that_fails_is_counted_here(redis: Redis, redis_url: str, caller: str) -> None:
    async with limiter(redis_url, "20/s burst 40") as asked:
        await asked.ask(caller)
        await redis.script_flush()  # the next call brings an error
        found = await asyncio.gather(*(asked.ask(caller) for _ in range(100)))
    assert 40 <= Counter(verdict.refused for verdict in found)[False] <= 70


@pytest.mark.promise("G17")
async def test_many_at_once_wait_for_few_calls_and_all_are_answered(redis: Redis, redis_url: str, caller: str) -> None:
    async with limiter(redis_url, LEASED) as asked:
        before = await scripts(redis)
        found = await asyncio.gather(*(asked.ask(caller) for _ in range(300)))
        assert Counter(verdict.refused for verdict in found) == {False: 300}
        assert await scripts(redis) - before <= 30
        found = await asyncio.gather(*(asked.ask(caller) for _ in range(300)))
        assert 100 <= Counter(verdict.refused for verdict in found)[False] < 250


@pytest.mark.promise("G17", "G40")
async def test_leased_limit_in_shadow_counts_each_that_it_would_refuse(
    redis: Redis, redis_url: str, caller: str
) -> None:
    async with limiter(redis_url, "20/s burst 40 shadow") as asked:
        found = await asyncio.gather(*(asked.ask(caller) for _ in range(100)))
        assert not any(verdict.refused for verdict in found)
        before = shadowed("limits.ip")
        asked.shadow.sweep()
        assert 30 <= shadowed("limits.ip") - before <= 60


async def test_memory_for_leases_is_bounded_and_given_back(redis_url: str) -> None:
    async with limiter(redis_url, LEASED, most_keys=100) as asked:
        for number in range(1000):
            await asked.ask(f"10.1.{number // 250}.{number % 250}")
        assert len(asked.limiter._leases) == 100
        async with asyncio.timeout(30):
            while asked.limiter._leases:
                await asyncio.sleep(0.05)
                asked.limiter.sweep()


async def test_replaced_limits_hold_from_the_next_request(redis_url: str, caller: str) -> None:
    async with limiter(redis_url, "1/h") as asked:
        assert [(await asked.ask(caller)).refused for _ in range(2)] == [False, True]
        asked.limiter.replace({"ip": Limit.parse("ip", LEASED)})
        verdict = await asked.ask(caller)
        assert (verdict.refused, verdict.limit and verdict.limit.count) == (False, 20)
