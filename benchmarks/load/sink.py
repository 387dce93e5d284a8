"""A mail server that takes everything as fast as it can, or with a delay, and says when what arrived.

`python -m benchmarks.load.sink <smtp port> <control port>`. On the control port a line of JSON sets the delay. With a
`count` it is answered twice, when mails begin to be counted and when so many are there; else with the times of codes,
and with how many recipients there were since a line with `watch`, and how many mails beyond one for each.
"""

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

_HELLO = b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
_REPLIES = {b"MAIL": b"250 2.1.0 Ok\r\n", b"RCPT": b"250 2.1.5 Ok\r\n", b"RSET": b"250 2.0.0 Ok\r\n"}
# Whose mails' times are kept one by one.
_TIMED = b"<code-"


class Board:
    """What has arrived since somebody began to count."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.codes: dict[str, float] = {}
        self.last = 0.0
        self.twice = 0
        self._watched: set[bytes] | None = None
        self._left = 0
        self._first = 0.0
        self._full = asyncio.Event()

    @property
    def different(self) -> int:
        """How many got something since `watch`."""
        return len(self._watched or ())

    def watch(self) -> None:
        self._watched, self.twice = set(), 0

    async def count(self, mails: int) -> dict[str, float]:
        self._left, self._first = mails, 0.0
        self._full.clear()
        await self._full.wait()
        return {"wall": time.monotonic() - self._first, "operations": mails}

    def arrived(self, recipient: bytes) -> None:
        if recipient.startswith(_TIMED):
            self.codes[recipient.strip(b"<>").partition(b"@")[0].decode()] = time.monotonic()
        if self._watched is not None:
            self.twice += recipient in self._watched
            self._watched.add(recipient)
        self.last = time.monotonic()
        self._first = self._first or self.last
        self._left -= 1
        if not self._left:
            self._full.set()


class Smtp(asyncio.Protocol):
    def __init__(self, board: Board) -> None:
        self._board = board
        self._buffer = b""
        self._in_data = False
        self._recipient = b""
        self._taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self._transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answers = []
        while (end := self._buffer.find(b"\r\n.\r\n" if self._in_data else b"\r\n")) >= 0:
            line, self._buffer = self._buffer[:end], self._buffer[end + (5 if self._in_data else 2) :]
            answers.append(self._taken_over() if self._in_data else self._heard(line))
        answer = b"".join(answers)
        if answer and self._board.delay and b"queued" in answer:
            asyncio.get_running_loop().call_later(self._board.delay, self._transport.write, answer)
        elif answer:
            self._transport.write(answer)

    def _heard(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb in {b"EHLO", b"HELO"}:
            return _HELLO
        if verb == b"RCPT":
            self._recipient = line.partition(b":")[2].strip()
        elif verb == b"DATA":
            self._in_data = True
            return b"354 Go ahead\r\n"
        elif verb == b"QUIT":
            asyncio.get_running_loop().call_soon(self._transport.close)
            return b"221 Bye\r\n"
        return _REPLIES.get(verb, b"250 Ok\r\n")

    def _taken_over(self) -> bytes:
        self._in_data = False
        self._taken += 1
        self._board.arrived(self._recipient)
        return b"250 2.0.0 Ok: queued as %d\r\n" % self._taken


async def control(board: Board, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    def say(what: dict[str, Any]) -> None:
        writer.write(json.dumps(what).encode() + b"\n")

    while line := await reader.readline():
        asked = json.loads(line)
        board.delay = asked.get("delay", 0.0)
        if "count" in asked:
            counting = asyncio.create_task(board.count(asked["count"]))
            await asyncio.sleep(0)
            say({"mark": "begin"})
            say({"mark": "end", **await counting})
        else:
            if asked.get("watch"):
                board.watch()
            seen = {"codes": board.codes, "last": board.last, "different": board.different, "twice": board.twice}
            say(seen)


async def main(smtp_port: int, control_port: int) -> None:
    loop = asyncio.get_running_loop()
    board = Board()
    mails = await loop.create_server(lambda: Smtp(board), "127.0.0.1", smtp_port)
    orders = await asyncio.start_server(lambda r, w: control(board, r, w), "127.0.0.1", control_port)
    async with mails, orders:
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
