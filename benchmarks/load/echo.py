"""One question after the other on each of a few sockets: what a round trip costs that does nothing else."""

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

from benchmarks.load.chat import say
from benchmarks.load.idle import open_one
from benchmarks.load.sockets import Socket, connect
from benchmarks.stats import percentile


async def ask(socket: Socket, question: bytes, latencies: list[float], until: float) -> None:
    loop = asyncio.get_running_loop()
    while time.perf_counter() < until:
        answered = loop.create_future()
        socket.on_data = lambda _data, answered=answered: answered.done() or answered.set_result(None)  # type: ignore[misc]
        began = time.perf_counter()
        socket.send(question)
        await answered
        latencies.append((time.perf_counter() - began) * 1000)


async def run(plan: dict[str, Any]) -> None:
    if plan["protocol"] == "parley":
        sockets = [await open_one(plan, number) for number in range(plan["sockets"])]
        question = b'{"i":7,"op":"ping"}'
    else:
        sockets = [await connect(plan["host"], plan["port"], "/ws/echo/") for _ in range(plan["sockets"])]
        question = b'{"i":7,"ok":{}}....'
    latencies: list[float] = []
    say("begin")
    began = time.perf_counter()
    until = began + plan["seconds"]
    await asyncio.gather(*(ask(socket, question, latencies, until) for socket in sockets))
    say(
        "end",
        operations=len(latencies),
        errors=0,
        wall=time.perf_counter() - began,
        p50=percentile(latencies, 0.5),
        p99=percentile(latencies, 0.99),
    )


if __name__ == "__main__":
    uvloop.run(run(json.loads(sys.stdin.read())))
