"""Codes that somebody waits for: from the request until the mail server has them. On time, however long each takes."""

import asyncio
import json
import sys
import time
import uuid
from typing import Any

import uvloop

from benchmarks.load.http import Connection, request_bytes
from benchmarks.stats import percentile

_LATE_SECONDS = 20.0


async def arrivals(port: int, delay: float) -> dict[str, float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    writer.write(b'{"delay": %f}\n' % delay)
    found: dict[str, float] = json.loads(await reader.readline())["codes"]
    writer.close()
    return found


async def run(plan: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, plan["host"], plan["port"])
    print(json.dumps({"mark": "begin"}), flush=True)
    began: dict[str, float] = {}
    due = time.monotonic()
    for _ in range(int(plan["rate"] * plan["seconds"])):
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        name = f"code-{uuid.uuid4().hex[:16]}"
        body = {**plan["body"], "to": [{"address": f"{name}@example.com", "variables": plan.get("variables", {})}]}
        request = {"method": "POST", "path": "/api/v1/deliveries", "headers": plan["headers"], "body": body}
        began[name] = due
        status = await connection.ask(request_bytes(plan, request))
        if status != 202:
            del began[name]
        due += 1 / plan["rate"]
    until = time.monotonic() + _LATE_SECONDS
    found: dict[str, float] = {}
    while not began.keys() <= found.keys() and time.monotonic() < until:
        await asyncio.sleep(0.1)
        found = await arrivals(plan["control"], plan["delay"])
    taken = [(found[name] - at) * 1000 for name, at in began.items() if name in found]
    result = {
        "mark": "end",
        "operations": len(taken),
        "errors": int(plan["rate"] * plan["seconds"]) - len(taken),
        "wall": plan["seconds"],
        "p50": percentile(taken, 0.5),
        "p99": percentile(taken, 0.99),
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    uvloop.run(run(json.loads(sys.stdin.read())))
