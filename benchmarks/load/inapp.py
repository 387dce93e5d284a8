"""Notifications on open sockets: from the request, at its time, until the socket of its reader has it."""

import asyncio
import json
import re
import sys
import time
from typing import Any

import uvloop

from benchmarks.load.http import Connection, request_bytes
from benchmarks.load.idle import open_one
from benchmarks.load.sockets import Socket
from benchmarks.stats import percentile

# Looks, each a twentieth of a second.
_PATIENCE = 200
_CONNECTIONS = 32
_NAMED = re.compile(rb"told-(\d+)!")
# A name may come in two parts.
_TAIL = 32


class Readers:
    """When each notification has arrived, by its number."""

    def __init__(self) -> None:
        self.arrived: dict[int, float] = {}

    def listen(self, socket: Socket) -> None:
        tail = b""

        def hear(data: bytes) -> None:
            nonlocal tail
            now = time.monotonic()
            heard = tail + data
            for found in _NAMED.finditer(heard):
                self.arrived.setdefault(int(found[1]), now)
            tail = heard[-_TAIL:]

        socket.on_data = hear


class Writers:
    """On time, however long each takes."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.due: dict[int, float] = {}
        self.refused = 0
        self._free: asyncio.Queue[Connection] = asyncio.Queue()

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_CONNECTIONS):
            _, connection = await loop.create_connection(Connection, self.plan["host"], self.plan["notify"])
            self._free.put_nowait(connection)

    async def write(self, first: int, seconds: float) -> None:
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for step in range(int(self.plan["rate"] * seconds)):
                due = began + step / self.plan["rate"]
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                group.create_task(self._one(first + step, due))

    async def _one(self, number: int, due: float) -> None:
        users = self.plan["users"]
        reader = users[number % len(users)]
        text = json.dumps(self.plan["body"]).replace("READER", reader).replace("NAME", f"told-{number}!")
        request = {"method": "POST", "path": self.plan["to"], "headers": self.plan["headers"], "body": json.loads(text)}
        connection = await self._free.get()
        try:
            status = await connection.ask(request_bytes({**self.plan, "port": self.plan["notify"]}, request))
        finally:
            self._free.put_nowait(connection)
        if 200 <= status < 300:
            self.due[number] = due
        else:
            self.refused += 1


async def run(plan: dict[str, Any]) -> None:
    readers, writers = Readers(), Writers(plan)
    sockets = [await open_one({**plan, "protocol": "parley"}, number) for number in range(len(plan["tokens"]))]
    for socket in sockets:
        readers.listen(socket)
    await writers.open()
    await writers.write(0, plan["warmup"])
    first = int(plan["rate"] * plan["warmup"])
    print(json.dumps({"mark": "begin"}), flush=True)
    writers.due, writers.refused = {}, 0
    await writers.write(first, plan["seconds"])
    for _ in range(_PATIENCE):
        if writers.due.keys() <= readers.arrived.keys():
            break
        await asyncio.sleep(0.05)
    taken = [(readers.arrived[number] - due) * 1000 for number, due in writers.due.items() if number in readers.arrived]
    result = {
        "mark": "end",
        "operations": len(taken),
        "errors": writers.refused + len(writers.due) - len(taken),
        "wall": plan["seconds"],
        "p50": percentile(taken, 0.5),
        "p99": percentile(taken, 0.99),
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    uvloop.run(run(json.loads(sys.stdin.read())))
