"""A provider that tells: signed calls, each with something new, on connections that stay: `rate` calls a second, on
time however long each takes."""

import asyncio
import hmac
import itertools
import json
import sys
import time
from typing import Any

import uvloop

from benchmarks.load.http import Connection
from benchmarks.stats import percentile

_BODY = (
    '{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":{'
    '"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550001111","phone_number_id":"%s"},'
    '"statuses":[{"id":"wamid.%s","status":"delivered","timestamp":"1790000000","recipient_id":"15550002222",'
    '"conversation":{"id":"c","origin":{"type":"utility"}},"pricing":{"billable":true,"category":"utility"}}]}}]}]}'
)


def signed(number: str, secret: str, message: int) -> tuple[str, str]:
    """A signature, and the body that it is of. `number`: of our phone."""
    body = _BODY % (number, message)
    return f"sha256={hmac.digest(secret.encode(), body.encode(), 'sha256').hex()}", body


class Provider:
    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.numbers = itertools.count(time.time_ns())
        self.latencies: list[float] = []
        self.bad = 0
        self.counting = False
        self.due = time.perf_counter()

    async def turn(self) -> float:
        """When the next call is due."""
        due: float = self.due + 1 / self.plan["rate"]
        self.due = due
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        return due

    def request(self) -> bytes:
        signature, body = signed(self.plan["number"], self.plan["secret"], next(self.numbers))
        head = (
            f"POST {self.plan['path']} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nX-Hub-Signature-256: {signature}\r\n\r\n"
        )
        return (head + body).encode()

    async def line(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            _, connection = await loop.create_connection(Connection, self.plan["host"], self.plan["port"])
            status = 200
            while status:
                request = self.request()
                began = await self.turn()
                status = await connection.ask(request)
                if not self.counting:
                    continue
                if 200 <= status < 300:
                    self.latencies.append((time.perf_counter() - began) * 1000)
                else:
                    self.bad += 1

    async def run(self) -> None:
        lines = [asyncio.create_task(self.line()) for _ in range(self.plan["connections"])]
        await asyncio.sleep(self.plan["warmup"])
        print(json.dumps({"mark": "begin"}), flush=True)
        self.counting = True
        await asyncio.sleep(self.plan["seconds"])
        self.counting = False
        result = {
            "mark": "end",
            "operations": len(self.latencies),
            "errors": self.bad,
            "wall": self.plan["seconds"],
            "p50": percentile(self.latencies, 0.5),
            "p99": percentile(self.latencies, 0.99),
        }
        print(json.dumps(result), flush=True)
        for line in lines:
            line.cancel()


if __name__ == "__main__":
    uvloop.run(Provider(json.loads(sys.stdin.read())).run())
