"""A day in a few minutes: people come, look around, write, react, correct themselves, read and go, all the time.

The mix is that of a product in use: to one message belong several changes of the conversation that is looked at, some
typing and reading, and now and then a reaction, an edit or a deletion. Says `minute` about once a minute.
"""

import asyncio
import itertools
import json
import re
import sys
import time
import uuid
from typing import Any

import uvloop

from benchmarks.load.chat import accepted, say
from benchmarks.load.sockets import Refused, Socket, connect

STORED = re.compile(rb'"ok":\{"id":"([0-9a-f-]{36})","q":\d+,"seq":(\d+)')


class Visitor:
    """One socket, from coming to leaving."""

    def __init__(self, plan: dict[str, Any], number: int, count: dict[str, int]) -> None:
        self.plan = plan
        self.number = number
        self.count = count
        self.token = plan["tokens"][number % len(plan["tokens"])]
        self.requests = itertools.count(2)
        self.last: tuple[str, int] | None = None

    async def live(self) -> None:
        plan = self.plan
        socket = await connect(plan["host"], plan["port"], "/ws/", protocol="chat.v1")
        try:
            socket.send(json.dumps({"i": 1, "op": "hello", "d": {"v": 1, "token": self.token}}).encode())
            accepted(await socket.expect(b'"i":1,'))
            socket.on_data = self.heard
            for turn in range(self.number % 17, self.number % 17 + plan["turns"]):
                self.act(socket, turn)
                await asyncio.sleep(plan["pause"])
        finally:
            # Half of them say goodbye, the others lose their network.
            if self.number % 2:
                socket.transport.abort()
            else:
                socket.transport.close()

    def heard(self, data: bytes) -> None:
        self.count["bytes"] += len(data)
        self.count["refused"] += data.count(b'"err"')
        self.count["busy"] += data.count(b'"code":"unavailable"')
        if found := STORED.search(data):
            self.last = (found[1].decode(), int(found[2]))

    def act(self, socket: Socket, turn: int) -> None:
        conversations = self.plan["conversations"]
        stream = f"c:{conversations[(self.number + turn // 4) % len(conversations)]}"
        if turn % 4 == 0:
            before = f"c:{conversations[(self.number + turn // 4 - 1) % len(conversations)]}"
            self.ask(socket, "unsub", None, {"streams": [before]})
            self.ask(socket, "sub", None, {"streams": {stream: None}})
        elif turn % 4 == 1:
            self.ask(socket, "typing", stream, {"on": True})
        elif turn % 4 == 2:
            self.count["sent"] += 1
            self.ask(socket, "send", stream, {"content": "x" * 120, "client_msg_id": str(uuid.uuid4())})
        elif self.last is not None:
            message, seq = self.last
            self.ask(socket, "read", stream, {"seq": seq})
            if turn % 8 == 3:
                self.ask(socket, "react", stream, {"message_id": message, "emoji": "👍"})
            if turn % 16 == 7:
                self.ask(socket, "edit", stream, {"message_id": message, "content": "y" * 120})
            if turn % 16 == 15:
                self.ask(socket, "delete", stream, {"message_id": message})

    def ask(self, socket: Socket, op: str, stream: str | None, data: dict[str, Any]) -> None:
        frame = {"i": next(self.requests), "op": op, "d": data} | ({"s": stream} if stream else {})
        socket.send(json.dumps(frame).encode())


async def run(plan: dict[str, Any]) -> None:
    count = {"sent": 0, "refused": 0, "busy": 0, "bytes": 0, "visits": 0, "failed": 0}
    numbers = itertools.count()
    until = time.perf_counter() + plan["seconds"]

    async def place() -> None:
        while time.perf_counter() < until:
            try:
                await Visitor(plan, next(numbers), count).live()
                count["visits"] += 1
            except (Refused, OSError, TimeoutError):
                count["failed"] += 1
                await asyncio.sleep(0.5)

    async def watch() -> None:
        while time.perf_counter() < until:
            await asyncio.sleep(plan["seconds"] / 30)
            say("minute")

    say("begin")
    await asyncio.gather(watch(), *(place() for _ in range(plan["at_once"])))
    say("end", **count)


if __name__ == "__main__":
    uvloop.run(run(json.loads(sys.stdin.read())))
