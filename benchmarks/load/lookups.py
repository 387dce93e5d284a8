"""What the gateway looks up for a request: countries in the process, limits and revocation in Redis.

Countries in CPU time; calls of Redis in wall time, one after the other and fifty at once, beside a PING of the same
connection.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import hiredis
import uvloop
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from benchmarks.load.chat import say
from gateway.domain.client_ip import Caller, Callers
from gateway.domain.country import Countries
from gateway.domain.gcra import Limit
from gateway.domain.limits import Limiter
from gateway.domain.pipe import Pipe
from gateway.domain.shadow import Shadow
from libs import logging
from libs.tokens import Claims

NETWORKS = 20_000
ADDRESSES = 20_000
AT_ONCE = 50
CALLS = 5000

Ask = Callable[[Callable[[Any], None]], None]


def database(path: Path, *, flat: bool) -> Countries:
    writer = MMDBWriter(6, "GeoIP2-Country", ipv4_compatible=True)
    codes = ("DE", "KE", "FR", "US", "JP", "BR")
    for number in range(NETWORKS):
        code = codes[number % len(codes)]
        names = dict.fromkeys(("de", "en", "es", "fr", "ja", "pt-BR", "ru", "zh-CN"), "Name of a country")
        country = {"geoname_id": 1, "iso_code": code, "names": names}
        record = {"country_code": code} if flat else {"country": country, "registered_country": country}
        writer.insert_network(IPSet([f"{1 + number // 65536}.{number // 256 % 256}.{number % 256}.0/24"]), record)
    writer.to_db_file(str(path))
    found = Countries(path)
    assert found.reload()
    return found


def looked_up(*, flat: bool) -> tuple[float, float]:
    """CPU microseconds of a first look-up and of one that is remembered."""
    # A step without a common factor: spread over all networks, none twice.
    numbers = [number * 7919 % (NETWORKS * 256) for number in range(ADDRESSES)]
    callers = Callers([])
    asking: list[Caller] = [
        callers.resolve(f"{1 + n // 16_777_216}.{n // 65536 % 256}.{n // 256 % 256}.{n % 256}", ()) for n in numbers
    ]
    with tempfile.TemporaryDirectory() as folder:
        countries = database(Path(folder) / "country.mmdb", flat=flat)
    return micros(countries, asking), micros(countries, asking)


def micros(countries: Countries, asking: list[Caller]) -> float:
    began = time.process_time()
    for caller in asking:
        countries.of(caller)
    return (time.process_time() - began) / len(asking) * 1e6


async def each(ask: Ask, count: int) -> float:
    """Microseconds a call, one after the other."""
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    for _ in range(count):
        answered: asyncio.Future[Any] = loop.create_future()
        ask(answered.set_result)
        assert await answered is not None
    return (time.perf_counter() - began) / count * 1e6


async def together(ask: Ask) -> float:
    """Calls a second, by fifty at once."""
    began = time.perf_counter()
    await asyncio.gather(*(each(ask, CALLS // AT_ONCE) for _ in range(AT_ONCE)))
    return CALLS / (time.perf_counter() - began)


async def asked(url: str) -> dict[str, float]:
    pipe = Pipe(url, budget_seconds=5)
    plenty = {name: Limit.parse(name, f"1000000/s by {by}") for name, by in (("ip", "address"), ("user", "account"))}
    limiter = Limiter(plenty, pipe, Shadow(), share=1)
    keeping = asyncio.create_task(pipe.run_forever())
    while not pipe.connected:  # noqa: ASYNC110  -- as the gateway does: it has no event for it
        await asyncio.sleep(0.01)
    caller = Callers([]).resolve("192.0.2.1", ())
    claims = Claims(str(uuid4()), str(uuid4()), int(time.time()) + 600, int(time.time() * 1000), (), {})
    question = limiter.ask(("ip", "user"), caller, claims.sub.encode(), claims)
    ping = bytes(hiredis.pack_command((b"PING",)))

    def check(done: Callable[[Any], None]) -> None:
        limiter.check(question, done)

    def bare(done: Callable[[Any], None]) -> None:
        pipe.run(ping, done)

    await each(check, 500)
    found = {"ping": await each(bare, CALLS), "check": await each(check, CALLS), "checks": await together(check)}
    keeping.cancel()
    pipe.close()
    return found


async def main(plan: dict[str, Any]) -> None:
    # Standard output is the harness's.
    logging.configure("lookups", level="ERROR", form="json")
    say("begin")
    flat, flat_again = looked_up(flat=True)
    nested, nested_again = looked_up(flat=False)
    found = await asked(plan["redis_url"])
    say("end", flat=flat, nested=nested, again=max(flat_again, nested_again), **found)


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.stdin.read())))
