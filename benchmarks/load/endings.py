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
        self.ended += 1
        # At once, so that neither answer waits for the other.
        look = request_bytes(self.plan, {"path": self.plan["nowhere"], "headers": headers})
        at_the_door, _ = await asyncio.gather(door.ask(read), self.until_refused(service, look))
        self.slipped += at_the_door != 401

    async def until_refused(self, service: Connection, look: bytes) -> None:
        """How late a request must be sent to be refused; how long its answer takes is another matter. Asked for what is
        not there, which costs the service little more than the look at the token, as often as it answers."""
        ended = sent = time.perf_counter()
        while await service.ask(look) != 401:
            sent = time.perf_counter()
            if sent - ended > _GIVE_UP_SECONDS:
                self.failed += 1
                return
        self.seen_after.append((sent - ended) * 1000)


if __name__ == "__main__":
    uvloop.run(Load(json.loads(sys.stdin.read())).run())
