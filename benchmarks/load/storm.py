"""Everybody loses the connection at once and comes back with what they have, while others go on writing.

Each socket follows twenty conversations. Says `dropped` when all are cut off and `resumed` when the last is back with
everything it missed; at the end each stream of each socket is held against its neighbours': no number missing or twice.
"""

import asyncio
import json
import re
import sys
import time
import uuid
from typing import Any

import uvloop

from benchmarks.load.chat import accepted, say
from benchmarks.load.sockets import Refused, Socket, connect

EVENT = re.compile(rb'\{"s":"(c:[0-9a-f-]{36})","q":(\d+),')
OUTCOME = re.compile(
    rb'"(c:[0-9a-f-]{36})":\{"epoch":(\d+),"top":(\d+),"recovered":(true|false),"limited":(true|false),"n":(\d+)'
)
HEAD = 64


class Client:
    def __init__(self, plan: dict[str, Any], number: int) -> None:
        self.plan = plan
        self.token = plan["tokens"][number % len(plan["tokens"])]
        every = plan["conversations"]
        # Neighbours share some of their conversations, not all.
        chosen = [every[(number * 7 + k * 13) % len(every)] for k in range(plan["streams"])]
        self.positions: dict[bytes, int] = dict.fromkeys((f"c:{c}".encode() for c in chosen), -1)
        self.gaps = 0
        self.duplicates = 0
        self.limited = 0
        self.tail = b""
        self.socket: Socket | None = None

    async def come(self) -> None:
        socket = await connect(self.plan["host"], self.plan["port"], "/ws/", protocol="chat.v1")
        resume = {key.decode(): None if q < 0 else [1, q] for key, q in self.positions.items()}
        hello = {"i": 1, "op": "hello", "d": {"v": 1, "token": self.token, "resume": resume}}
        socket.send(json.dumps(hello).encode())
        answer = await socket.expect(b'"i":1,')
        while b'"streams":{' in answer and answer.count(b'"limited"') < len(self.positions):
            answer += await socket.expect(b"}")
        accepted(answer)
        for key, _, top, _, limited, missed in OUTCOME.findall(answer):
            self.limited += limited == b"true"
            if self.positions[key] < 0 or limited == b"true":
                self.positions[key] = int(top) - int(missed)
        self.socket = socket
        self.tail = b""
        socket.on_data = self.take
        # What came in the same breath as the answer.
        self.take(answer)

    def take(self, data: bytes) -> None:
        data = self.tail + data
        end = 0
        for found in EVENT.finditer(data):
            end = found.end()
            key, number = found[1], int(found[2])
            last = self.positions.get(key)
            if last is None:
                continue
            if number <= last:
                self.duplicates += 1
            else:
                self.gaps += number > last + 1
                self.positions[key] = number
        self.tail = data[max(end, len(data) - HEAD) :]

    def leave(self) -> None:
        if self.socket is not None:
            self.socket.transport.abort()


class Writers:
    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.sent = 0
        self.failed = 0

    async def write(self) -> None:
        plan = self.plan
        sockets = []
        for token in plan["senders"]:
            socket = await connect(plan["host"], plan["port"], "/ws/", protocol="chat.v1")
            socket.send(json.dumps({"i": 1, "op": "hello", "d": {"v": 1, "token": token}}).encode())
            accepted(await socket.expect(b'"i":1,'))
            socket.on_data = self.answered
            sockets.append(socket)
        began = time.perf_counter()
        for number in range(1 << 30):
            await asyncio.sleep(max(0.0, began + number / plan["rate"] - time.perf_counter()))
            conversation = plan["conversations"][number % len(plan["conversations"])]
            body = {"content": "x" * 120, "client_msg_id": str(uuid.uuid4())}
            frame = {"i": number + 2, "op": "send", "s": f"c:{conversation}", "d": body}
            sockets[number % len(sockets)].send(json.dumps(frame).encode())
            self.sent += 1

    def answered(self, data: bytes) -> None:
        self.failed += data.count(b'"err"')


async def all_come(clients: list[Client], at_once: int) -> int:
    turn = asyncio.Semaphore(at_once)
    tries = 0

    async def one(client: Client) -> None:
        nonlocal tries
        async with turn:
            while True:
                tries += 1
                try:
                    await client.come()
                except (OSError, Refused, TimeoutError):
                    await asyncio.sleep(0.2 + tries % 8 / 10)
                else:
                    return

    await asyncio.gather(*(one(client) for client in clients))
    return tries


async def run(plan: dict[str, Any]) -> None:
    clients = [Client(plan, number) for number in range(plan["sockets"])]
    await all_come(clients, 50)
    writers = Writers(plan)
    writing = asyncio.create_task(writers.write())
    await asyncio.sleep(2.0)
    say("begin")
    await asyncio.sleep(plan["calm"])
    say("calm")
    for client in clients:
        client.leave()
    await asyncio.sleep(plan["away"])
    say("dropped")
    began = time.perf_counter()
    tries = await all_come(clients, plan["at_once"])
    back = time.perf_counter() - began
    say("resumed")
    await asyncio.sleep(2.0)
    writing.cancel()
    await asyncio.sleep(1.0)
    tops: dict[bytes, int] = {}
    for client in clients:
        for key, number in client.positions.items():
            tops[key] = max(tops.get(key, 0), number)
    behind = sum(number < tops[key] for client in clients for key, number in client.positions.items())
    say(
        "end",
        back=back,
        tries=tries,
        gaps=sum(client.gaps for client in clients),
        duplicates=sum(client.duplicates for client in clients),
        limited=sum(client.limited for client in clients),
        behind=behind,
        sent=writers.sent,
        refused=writers.failed,
    )


if __name__ == "__main__":
    uvloop.run(run(json.loads(sys.stdin.read())))
