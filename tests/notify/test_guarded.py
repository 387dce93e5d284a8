"""Seats that send where others say: how long that may take, and what is kept of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count

import pytest

from notify_service.domain.channels import ErrorClass
from notify_service.domain.channels.guarded import guarded
from notify_service.domain.channels.http import Call, Seat, by_status

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"


@asynccontextmanager
async def serving(answer: Answer, heard: list[int] | None = None) -> AsyncIterator[int]:
    """A server on every address of this machine that says what the test wants, as often as it is asked. `heard`: the
    numbers of the connections over which it was."""
    numbers = count()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = next(numbers)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                if heard is not None:
                    heard.append(connection)
                await answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "0.0.0.0", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def seat(timeout: float = 15) -> Seat:
    return Seat(by_status, headers={}, timeout=timeout, transport=guarded(private_networks=True))


async def taken(writer: asyncio.StreamWriter) -> None:
    writer.write(TAKEN)
    await writer.drain()


@pytest.mark.promise("N53")
async def test_answer_that_drips_is_no_answer() -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with serving(drip) as port, asyncio.timeout(30):
        line = seat(timeout=1)
        outcome = await line.ask(Call(f"http://127.0.0.1:{port}/", b""))
        await line.close()
    assert (outcome.error, outcome.code) == (ErrorClass.AMBIGUOUS, "no_answer")


async def test_huge_answer_is_not_read_to_its_end() -> None:
    sent = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while sent < 1_000_000_000:
            writer.write(b" " * 65_536)
            await writer.drain()
            sent += 65_536

    async with serving(flood) as port:
        line = seat()
        assert (await line.ask(Call(f"http://127.0.0.1:{port}/", b""))).error is None
        await line.close()
    assert sent < 100_000_000


async def test_connection_is_kept_for_each_host_but_not_for_all_there_ever_were() -> None:
    heard: list[int] = []
    hosts = [f"127.0.0.{number}" for number in range(1, 19)]
    async with serving(taken, heard) as port:
        line = seat()
        for host in (*hosts, hosts[-1], hosts[0]):
            assert (await line.ask(Call(f"http://{host}:{port}/", b""))).error is None
        await line.close()
    assert len(set(heard[:18])) == 18
    assert heard[18] == heard[17]
    assert heard[19] != heard[0]


async def test_name_that_is_none_is_nobody_there() -> None:
    line = seat()
    outcome = await line.ask(Call("http://no-such-host.invalid/", b""))
    await line.close()
    assert outcome.error is ErrorClass.UNREACHABLE
