"""Sockets that do nothing. What they cost while they are opened, and what they cost for being there.

Says `opened` when all stand, `rested` after `rest` seconds of silence. `connect`: opens and closes instead, one after
the other on each of `at_once` connections, and counts how often.
"""

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

from benchmarks.load.chat import accepted, say
from benchmarks.load.sockets import Refused, Socket, connect
from benchmarks.stats import percentile

_AT_ONCE = 50


async def open_one(plan: dict[str, Any], number: int) -> Socket:
    if plan["protocol"] != "parley":
        return await connect(plan["host"], plan["port"], f"/ws/listen/{plan['conversation']}/")
    socket = await connect(plan["host"], plan["port"], plan["path"], protocol="chat.v1")
    token = plan["tokens"][number % len(plan["tokens"])]
    resume = {f"c:{plan['conversation']}": None} if plan.get("resume") else {}
    hello = {"i": 1, "op": "hello", "d": {"v": 1, "token": token, "device": "bench", "resume": resume}}
    socket.send(json.dumps(hello).encode())
    accepted(await socket.expect(b'"i":1'))
    # Heartbeats are thrown away; a real client would answer, which costs both sides a frame a quarter of a minute.
    socket.on_data = lambda _data: None
    return socket


async def open_all(plan: dict[str, Any]) -> list[Socket]:
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int) -> Socket:
        async with turn:
            return await open_one(plan, number)

    return await asyncio.gather(*(one(number) for number in range(plan["sockets"])))


async def rest(plan: dict[str, Any]) -> None:
    say("begin")
    sockets = await open_all(plan)
    say("opened")
    await asyncio.sleep(plan["settle"])
    say("quiet")
    began = time.perf_counter()
    await asyncio.sleep(plan["rest"])
    say("rested")
    closed = sum(socket.closed for socket in sockets)
    say("end", sockets=len(sockets), closed=closed, rested=time.perf_counter() - began)


async def come_and_go(plan: dict[str, Any]) -> None:
    latencies: list[float] = []
    errors = 0
    say("begin")
    began = time.perf_counter()
    until = began + plan["seconds"]

    async def visitor(number: int) -> None:
        nonlocal errors
        while time.perf_counter() < until:
            start = time.perf_counter()
            try:
                socket = await open_one(plan, number)
            except (Refused, OSError, TimeoutError):
                errors += 1
                continue
            latencies.append((time.perf_counter() - start) * 1000)
            socket.transport.abort()

    await asyncio.gather(*(visitor(number) for number in range(plan["at_once"])))
    say(
        "end",
        operations=len(latencies),
        errors=errors,
        wall=time.perf_counter() - began,
        p50=percentile(latencies, 0.5),
        p99=percentile(latencies, 0.99),
    )


if __name__ == "__main__":
    chosen = json.loads(sys.stdin.read())
    uvloop.run(come_and_go(chosen) if chosen["what"] == "connect" else rest(chosen))
