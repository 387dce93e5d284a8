"""Refreshing in a closed loop. `tabs`: how many present the same token at once, as the tabs of a browser do."""

import asyncio
import itertools
import json
import sys
import time
from typing import Any

import orjson
import uvloop

from benchmarks.load.http import Connection, request_bytes
from benchmarks.stats import percentile


class Reading(Connection):
    """Keeps the body of the last answer."""

    body = b""

    def on_body(self, data: bytes) -> None:
        self.body += data

    async def refresh(self, plan: dict[str, Any], token: str) -> tuple[int, str]:
        self.body = b""
        request = {"method": "POST", "path": "/api/v1/auth/token/refresh", "body": {"refresh": token}}
        status = await self.ask(request_bytes(plan, request))
        return status, orjson.loads(self.body)["refresh"] if status == 200 else ""


class Load:
    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.tokens: list[str] = plan["tokens"]
        self.counting = self.over = False
        self.latencies: list[float] = []
        self.good = self.bad = 0

    async def run(self) -> None:
        groups = [asyncio.create_task(self.group(number)) for number in range(self.plan["groups"])]
        await asyncio.sleep(self.plan["warmup"])
        print(json.dumps({"mark": "begin"}), flush=True)
        self.counting = True
        began = time.perf_counter()
        await asyncio.sleep(self.plan["seconds"])
        self.counting = False
        wall = time.perf_counter() - began
        # Each ends its round: a token that was exchanged and not kept would look stolen in the next measurement.
        self.over = True
        await asyncio.gather(*groups)
        self.report(wall)

    async def group(self, number: int) -> None:
        """Its sessions take turns, for each may be refreshed 120 times a minute."""
        loop = asyncio.get_running_loop()
        address = self.plan["host"], self.plan["port"]
        tabs = [(await loop.create_connection(Reading, *address))[1] for _ in range(self.plan["tabs"])]
        mine = itertools.cycle(range(number, len(self.tokens), self.plan["groups"]))
        while not self.over:
            place = next(mine)
            self.tokens[place] = await self.round(tabs, self.tokens[place])

    async def round(self, tabs: list[Reading], token: str) -> str:
        """All tabs at once. Anything but one successor for all is a failure, a false alarm of reuse above all."""
        began = time.perf_counter()
        answers = await asyncio.gather(*(tab.refresh(self.plan, token) for tab in tabs))
        if self.counting:
            self.latencies.append((time.perf_counter() - began) * 1000)
            good = sum(answer == (200, answers[0][1]) for answer in answers)
            self.good += good
            self.bad += len(answers) - good
        return answers[0][1] or token

    def report(self, wall: float) -> None:
        result = {
            "mark": "end",
            "operations": self.good,
            "errors": self.bad,
            "wall": wall,
            "p50": percentile(self.latencies, 0.5),
            "p99": percentile(self.latencies, 0.99),
            "tokens": self.tokens,
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    uvloop.run(Load(json.loads(sys.stdin.read())).run())
