"""HTTP in a closed loop: each connection asks again once it has its answer. A probe may ask beside it, on time."""

import asyncio
import itertools
import json
import sys
import time
from typing import Any

import httptools
import uvloop

from benchmarks.stats import percentile

# Rarely enough that answering the probe costs next to nothing beside what is measured.
PROBE_SECONDS = 0.05


class Connection(asyncio.Protocol):
    """One keep-alive connection; `ask` returns the status of the answer."""

    def __init__(self) -> None:
        self.transport: asyncio.WriteTransport
        self.waiting: asyncio.Future[int] | None = None
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(self.parser.get_status_code())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(0)

    async def ask(self, request: bytes) -> int:
        self.parser = httptools.HttpResponseParser(self)
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.waiting


def request_bytes(plan: dict[str, Any], request: dict[str, Any]) -> bytes:
    body = json.dumps(request["body"]).encode() if "body" in request else b""
    headers = {"Host": f"{plan['host']}:{plan['port']}", **request.get("headers", {})}
    if body:
        headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = [f"{request.get('method', 'GET')} {request['path']} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Load:
    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.counting = False
        self.latencies: list[float] = []
        self.statuses: dict[int, int] = {}
        self.probes: list[float] = []

    async def connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, self.plan["host"], self.plan["port"])
        return connection

    async def one(self, number: int) -> None:
        """Its share of the requests, one after the other and again; one of them where there are not enough to share."""
        requests = self.plan["requests"]
        mine = requests[number % len(requests) :: self.plan["connections"]]
        connection = await self.connect()
        for request in itertools.cycle([request_bytes(self.plan, each) for each in mine]):
            began = time.perf_counter()
            status = await connection.ask(request)
            if self.counting:
                self.statuses[status] = self.statuses.get(status, 0) + 1
                if 200 <= status < 300:
                    self.latencies.append((time.perf_counter() - began) * 1000)
            if status == 0:
                connection = await self.connect()

    async def probe(self, path: str, interval: float) -> None:
        """Open loop: a late answer is counted from the moment it was due."""
        request = request_bytes(self.plan, {"path": path})
        connection = await self.connect()
        due = time.perf_counter()
        while True:
            due += interval
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await connection.ask(request)
            if self.counting:
                self.probes.append((time.perf_counter() - due) * 1000)

    async def run(self) -> None:
        tasks = [asyncio.create_task(self.one(number)) for number in range(self.plan["connections"])]
        if "probe" in self.plan:
            tasks.append(asyncio.create_task(self.probe(self.plan["probe"], PROBE_SECONDS)))
        done, _ = await asyncio.wait(tasks, timeout=self.plan["warmup"], return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        print(json.dumps({"mark": "begin"}), flush=True)
        self.counting = True
        began = time.perf_counter()
        await asyncio.sleep(self.plan["seconds"])
        self.counting = False
        self.report(time.perf_counter() - began)
        for task in tasks:
            task.cancel()

    def report(self, wall: float) -> None:
        good = sum(count for status, count in self.statuses.items() if 200 <= status < 300)
        result = {
            "mark": "end",
            "operations": good,
            "errors": sum(self.statuses.values()) - good,
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "wall": wall,
            "p50": percentile(self.latencies, 0.5),
            "p99": percentile(self.latencies, 0.99),
            "probe_p50": percentile(self.probes, 0.5),
            "probe_p99": percentile(self.probes, 0.99),
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    uvloop.run(Load(json.loads(sys.stdin.read())).run())
