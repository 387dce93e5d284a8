"""One conversation: subscribers that only listen, senders that send at a fixed rate whatever the server does.

Latency counts from the moment a message was due, so a server that falls behind cannot hide it by slowing the sender.
Every text carries `~00000042~`; deliveries are found by that mark, whatever the protocol around it.
"""

import asyncio
import json
import re
import sys
import time
import uuid
from array import array
from typing import Any

import uvloop

from benchmarks.load.sockets import Refused, Socket, connect
from benchmarks.stats import percentile

MARK = re.compile(rb"~(\d{8})~")
TAIL = 9  # one byte less than a mark: a whole mark in it would be counted twice


class Book:
    """When each message was due, and who has seen it how late."""

    def __init__(self, total: int, warmup: int) -> None:
        self.due = array("d", bytes(8 * total))
        self.warmup = warmup
        self.late = array("d")
        self.acks = array("d")
        self.duplicates = 0
        self.bytes = 0
        self.heard = 0

    def listener(self, socket: Socket) -> None:
        tail = b""
        seen = bytearray(len(self.due))

        def on_data(data: bytes) -> None:
            nonlocal tail
            now = time.perf_counter()
            self.bytes += len(data)
            data = tail + data
            tail = data[-TAIL:]
            for mark in MARK.findall(data):
                number = int(mark)
                if seen[number]:
                    self.duplicates += 1
                    continue
                seen[number] = 1
                self.heard += 1
                if number >= self.warmup:
                    self.late.append(now - self.due[number])

        socket.on_data = on_data


async def open_parley(plan: dict[str, Any], token: str, *, listens: bool) -> Socket:
    socket = await connect(plan["host"], plan["port"], plan["path"], protocol="chat.v1")
    hello = {"i": 1, "op": "hello", "d": {"v": 1, "token": token, "device": "bench"}}
    socket.send(json.dumps(hello).encode())
    accepted(await socket.expect(b'"i":1'))
    if listens:
        stream = f"c:{plan['conversation']}"
        socket.send(json.dumps({"i": 2, "op": "sub", "d": {"streams": {stream: None}}}).encode())
        accepted(await socket.expect(b'"i":2'))
    return socket


def accepted(answer: bytes) -> None:
    if b'"err"' in answer or b'"ok"' not in answer:
        raise Refused(answer[:1000].decode(errors="replace"))


async def open_plain(plan: dict[str, Any], *, listens: bool) -> Socket:
    role = "listen" if listens else "send"
    return await connect(plan["host"], plan["port"], f"/ws/{role}/{plan['conversation']}/")


async def open_sockets(plan: dict[str, Any], count: int, *, listens: bool) -> list[Socket]:
    if plan["protocol"] != "parley":
        return [await open_plain(plan, listens=listens) for _ in range(count)]
    tokens = plan["listeners" if listens else "senders"]
    return [await open_parley(plan, tokens[number % len(tokens)], listens=listens) for number in range(count)]


async def open_listeners(plan: dict[str, Any]) -> list[Socket]:
    """By turns at the processes that they listen at."""
    ports = plan["listen_ports"]
    shares = [len(range(number, plan["subscribers"], len(ports))) for number in range(len(ports))]
    sockets: list[Socket] = []
    for port, share in zip(ports, shares, strict=True):
        sockets += await open_sockets({**plan, "port": port}, share, listens=True)
    return sockets


async def open_stalled(plan: dict[str, Any]) -> list[Socket]:
    """They follow like the others, and then their program hangs."""
    sockets = await open_sockets(plan, plan["stalled"], listens=True)
    for socket in sockets:
        socket.transport.pause_reading()
    return sockets


def text_of(plan: dict[str, Any], number: int) -> bytes:
    """What one sender writes for one message; all protocols carry the same content."""
    content = f"~{number:08d}~".ljust(plan["size"], "x")
    if plan["protocol"] == "raw":
        return f"{plan['envelope_head']}{content}{plan['envelope_tail']}".encode()
    body = {"client_msg_id": str(uuid.uuid4()), "content": content}
    if plan["protocol"] == "channels":
        return json.dumps({"i": number, **body}).encode()
    return json.dumps({"i": number + 10, "op": "send", "s": f"c:{plan['conversation']}", "d": body}).encode()


async def send_all(plan: dict[str, Any], senders: list[Socket], book: Book) -> None:
    start = time.perf_counter()
    for number in range(len(book.due)):
        due = start + number / plan["rate"]
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        if number == book.warmup > 0:
            say("begin")
        book.due[number] = due
        senders[number % len(senders)].send(text_of(plan, number))


async def settle(book: Book, expected: int, patience: float) -> float:
    """Wait for the last delivery; give up when nothing has come for `patience` seconds."""
    count, since = len(book.late), time.perf_counter()
    while len(book.late) < expected:
        await asyncio.sleep(0.02)
        if len(book.late) > count:
            count, since = len(book.late), time.perf_counter()
        elif time.perf_counter() - since > patience:
            break
    return time.perf_counter()


async def run(plan: dict[str, Any]) -> None:
    warmup = int(plan["warmup"] * plan["rate"])
    book = Book(warmup + int(plan["seconds"] * plan["rate"]), warmup)
    listeners = await open_listeners(plan)
    stalled = await open_stalled(plan)
    for socket in listeners:
        book.listener(socket)
    expected = (len(book.due) - warmup) * len(listeners)
    senders = await open_sockets({**plan, "port": plan["send_port"]}, plan["sender_count"], listens=False)
    answers = Answers(senders)
    if not book.warmup:
        say("begin")
    begun = time.perf_counter()
    await send_all(plan, senders, book)
    ended = await settle(book, expected, patience=2)
    for socket in stalled:
        socket.transport.abort()
    report(book, expected, ended - begun - plan["warmup"], refused=answers.refused)


class Answers:
    """Counts what the server refused; the first refusal is shown, since a benchmark of refusals is worthless."""

    def __init__(self, senders: list[Socket]) -> None:
        self.refused = 0
        for socket in senders:
            socket.on_data = self.on_data

    def on_data(self, data: bytes) -> None:
        refusals = data.count(b'"err"')
        if refusals and not self.refused:
            print(data[:500].decode(errors="replace"), file=sys.stderr)
        self.refused += refusals


def say(mark: str, **values: float) -> None:
    print(json.dumps({"mark": mark, **values}), flush=True)


def report(book: Book, expected: int, wall: float, *, refused: int) -> None:
    late = [value * 1000 for value in book.late]
    say(
        "end",
        delivered=len(book.late),
        expected=expected,
        lost=expected - len(book.late),
        duplicates=book.duplicates,
        refused=refused,
        wall=wall,
        bytes=book.bytes,
        heard=book.heard,
        p50=percentile(late, 0.5),
        p99=percentile(late, 0.99),
    )


if __name__ == "__main__":
    uvloop.run(run(json.loads(sys.stdin.read())))
