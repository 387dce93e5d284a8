"""`./parley talk`: two people at their terminals, against the stack."""

import asyncio
import codecs
import contextlib
import os
import pty
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from deploy.local.binaries import CHECKOUT
from deploy.local.stack import Stack
from tests.e2e.people import Person

COMMAND = (sys.executable, "-m", "deploy.local", "talk", "--url")


@dataclass
class Terminal:
    process: asyncio.subprocess.Process
    output: str = field(default="")
    _decoder: codecs.IncrementalDecoder = field(default_factory=codecs.getincrementaldecoder("utf-8"))

    async def type(self, *lines: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        await self.process.stdin.drain()

    async def until(self, text: str) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            while text not in self.output:
                chunk = await self.process.stdout.read(4096)
                assert chunk, f"ended without {text!r}:\n{self.output}"
                # A character may come in two parts.
                self.output += self._decoder.decode(chunk)


@contextlib.asynccontextmanager
async def terminal(url: str) -> AsyncIterator[Terminal]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        url,
        cwd=CHECKOUT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield Terminal(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_two_people_talk(stack: Stack, ada: Person, grace: Person) -> None:
    async with terminal(stack.url) as here, terminal(stack.url) as there:
        await here.type(ada.name, ada.password)
        await there.type(grace.email, grace.password)
        await here.until("connected")
        await there.until("connected")
        await here.type(f"/to {grace.name}", "Hello, grace", "/who", "/nonsense")
        await here.until("Hello, grace")
        await here.until("/nonsense is no command")
        await there.until("a new conversation")
        await there.type("/list", "/open 1")
        await there.until("Hello, grace")
        await there.type("Hello, ada", "/open 77")
        await there.until("takes a number of the list")
        await here.until("Hello, ada")
        await here.type("/quit")
        assert await here.process.wait() == 0
        assert there.process.stdin is not None
        there.process.stdin.close()
        assert await there.process.wait() == 0


async def test_who_has_no_account_registers(stack: Stack) -> None:
    async with Person(stack.url, "mary") as mary, terminal(stack.url) as here:
        await here.type("nobody_at_all", "a wrong password", "", mary.email, mary.name, mary.password)
        await here.until("! ")
        await here.until("connected")
        await here.type("a word", "/to nobody_at_all", "/help", "/quit")
        await here.until("first /open a conversation")
        await here.until("nobody of the name")
        assert await here.process.wait() == 0


async def test_where_nothing_runs_it_says_so() -> None:
    async with terminal("http://127.0.0.1:9") as here:
        await here.type("ada", "password")
        await here.until("does not answer")
        assert await here.process.wait() == 1


@pytest.mark.skipif(sys.platform == "win32", reason="has no pty")
async def test_message_that_comes_while_typing_leaves_the_line_whole(stack: Stack, ada: Person, grace: Person) -> None:
    leader, follower = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *COMMAND, stack.url, cwd=CHECKOUT, stdin=follower, stdout=follower, stderr=follower, start_new_session=True
    )
    os.close(follower)
    shown = ""

    async def until(text: str) -> None:
        nonlocal shown
        async with asyncio.timeout(30):
            while text not in shown:
                shown += (await asyncio.to_thread(os.read, leader, 4096)).decode(errors="replace")

    try:
        await until("username or e-mail")
        os.write(leader, f"{ada.name}\n".encode())
        await until("password:")
        os.write(leader, f"{ada.password}\n".encode())
        await until("connected")
        os.write(leader, f"/to {grace.name}\n".encode())
        await until("---")
        os.write(leader, b"half a sen")
        await until("half a sen")
        [conversation] = (await grace.call("GET", "/api/v1/conversations"))["results"]
        await grace.call("POST", f"/api/v1/conversations/{conversation['id']}/messages", {"content": "in"}, expect=201)
        await until(": in")
        shown = ""
        os.write(leader, b"tence\n")
        await until("half a sentence")
        assert ada.password not in shown
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        os.close(leader)
