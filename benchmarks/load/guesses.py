"""Wrong passwords for accounts that exist and for none, in turn: whether the time tells which is which."""

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

from benchmarks.load.http import Connection, request_bytes


async def run(plan: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, plan["host"], plan["port"])
    taken: dict[str, list[float]] = {"known": [], "unknown": []}
    refused = 0
    print(json.dumps({"mark": "begin"}), flush=True)
    began = time.perf_counter()
    for number, (known, unknown) in enumerate(zip(plan["known"], plan["unknown"], strict=True)):
        # Every second pair the other way round, each from an address of its own: what is slowed down is not compared.
        pair = [("known", known), ("unknown", unknown)]
        for place, (kind, email) in enumerate(pair if number % 2 else pair[::-1]):
            index = plan["offset"] + 2 * number + place
            request = {
                "method": "POST",
                "path": "/api/v1/auth/token",
                "headers": {"X-Forwarded-For": f"198.18.{index // 250 % 250}.{index % 250}"},
                "body": {"email": email, "password": "not the password"},
            }
            asked = time.perf_counter()
            status = await connection.ask(request_bytes(plan, request))
            taken[kind].append((time.perf_counter() - asked) * 1000)
            refused += status == 401
    result = {"mark": "end", "operations": refused, "wall": time.perf_counter() - began, **taken}
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    uvloop.run(run(json.loads(sys.stdin.read())))
