"""Sessions that end: whether the gateway lets the next request slip, and how soon a service behind it knows."""

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

from benchmarks.load.http import Connection, request_bytes
from benchmarks.stats import percentile

_GIVE_UP_SECONDS = 5.0


class Load:
    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.slipped = self.ended = self.failed = 0
        self.seen_after: list[float] = []

    async def run(self) -> None:
        print(json.dumps({"mark": "begin"}), flush=True)
        began = time.perf_counter()
        tokens = iter(self.plan["tokens"])
        await asyncio.gather(*(self.work(tokens) for _ in range(self.plan["connections"])))
        result = {
            "mark": "end",
            "operations": self.ended,
            "errors": self.failed,
            "wall": time.perf_counter() - began,
            "p50": percentile(self.seen_after, 0.5),
            "p99": percentile(self.seen_after, 0.99),
            "slipped": self.slipped,
        }
        print(json.dumps(result), flush=True)

    async def work(self, tokens: Any) -> None:
        loop = asyncio.get_running_loop()
        _, door = await loop.create_connection(Connection, self.plan["host"], self.plan["gateway"])
        _, service = await loop.create_connection(Connection, self.plan["host"], self.plan["service"])
        for token in tokens:
            await self.end(token, door, service)

    async def end(self, token: str, door: Connection, service: Connection) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        read = request_bytes(self.plan, {"path": self.plan["path"], "headers": headers})
        # The service knows the token and remembers it, as in real life.
        if await service.ask(read) != 200:
            self.failed += 1
            return
        out = {"method": "POST", "path": "/api/v1/auth/logout", "headers": headers, "body": {}}
        if await door.ask(request_bytes(self.plan, out)) != 200:
            self.failed += 1
            return
        ended = time.perf_counter()
        self.ended += 1
        self.slipped += await door.ask(read) != 401
        while await service.ask(read) != 401:
            if time.perf_counter() - ended > _GIVE_UP_SECONDS:
                self.failed += 1
                return
        self.seen_after.append((time.perf_counter() - ended) * 1000)


if __name__ == "__main__":
    uvloop.run(Load(json.loads(sys.stdin.read())).run())
