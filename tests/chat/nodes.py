"""Processes of chat for the tests: real servers on real ports, inside the test's process or beside it."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx2
import uvicorn
from fastapi import FastAPI
from sqlalchemy import text

from chat_service.__main__ import SOCKET_OPTIONS
from chat_service.app import create_app
from chat_service.domain import profiles
from chat_service.domain.context import Context
from chat_service.settings import Settings
from deploy.local.ports import free_port
from libs.clock import Clock
from libs.contracts.accounts import Profile
from libs.db import Database
from libs.tls import tls_context
from parley_client import ChatClient, Position
from tests.conftest import UNMEASURED


def free_socket() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener


@dataclass
class Person:
    id: UUID
    token: str
    name: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class Node:
    """One process of chat as seen from outside; `app` only where it runs in this process."""

    def __init__(self, url: str, app: FastAPI | None = None) -> None:
        self.url = url
        self.app = app
        self.http = httpx2.AsyncClient(base_url=url, timeout=30, verify=tls_context(), trust_env=False)

    @property
    def socket_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "/ws"

    @property
    def context(self) -> Context:
        assert self.app is not None
        context: Context = self.app.state.context
        return context

    async def call(self, person: Person, method: str, path: str, **kwargs: Any) -> httpx2.Response:
        return await self.http.request(method, f"/api/v1{path}", headers=person.headers, **kwargs)

    async def group(self, owner: Person, *others: Person, kind: str = "group") -> str:
        body = {"conversation_type": kind, "participants": [str(p.id) for p in others], "name": "Team"}
        answer = await self.call(owner, "POST", "/conversations", json=body)
        assert answer.status_code in (200, 201), answer.text
        conversation_id: str = answer.json()["id"]
        return conversation_id

    async def say(self, person: Person, conversation_id: str, content: str, **more: Any) -> dict[str, Any]:
        path = f"/conversations/{conversation_id}/messages"
        answer = await self.call(person, "POST", path, json={"content": content, **more})
        assert answer.status_code == 201, answer.text
        message: dict[str, Any] = answer.json()
        return message

    @contextlib.asynccontextmanager
    async def client(
        self, person: Person, *conversations: str, resume: dict[str, Position | None] | None = None
    ) -> AsyncIterator[ChatClient]:
        """A socket that has said hello and follows the conversations."""
        client = ChatClient(self.socket_url)
        await client.open()
        try:
            await client.hello(person.token, resume=resume)
            if conversations:
                outcomes = await client.sub(*(f"c:{c}" for c in conversations))
                assert not any("err" in outcome for outcome in outcomes.values()), outcomes
            yield client
        finally:
            await client.close()


@contextlib.asynccontextmanager
async def running(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Node]:
    """A server in this process."""
    app = create_app(settings, clock)
    listener = free_socket()
    config = uvicorn.Config(
        app,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        # As in production: a shorter one closes idle connections just when a test writes to them.
        timeout_keep_alive=75,
        log_config=None,
        **SOCKET_OPTIONS,
    )
    server = uvicorn.Server(config)
    # Without uvicorn's signal handlers, which belong to a process of its own.
    task = asyncio.create_task(server._serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
        if task.done():
            task.result()
    # On a busy machine too each of those who come at once gets a connection.
    app.state.db.engine.pool._timeout = 60.0
    node = Node(f"http://127.0.0.1:{listener.getsockname()[1]}", app)
    try:
        yield node
    finally:
        await node.http.aclose()
        server.should_exit = True
        await task


@dataclass
class Process:
    """`python -m chat_service serve` or `worker`, killed at the end."""

    arguments: Sequence[str]
    env: dict[str, str]
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "chat_service",
            *self.arguments,
            env={**os.environ, **self.env},
            stdout=asyncio.subprocess.DEVNULL,
        )

    async def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        await self.process.wait()


def environment(settings: Settings, port: int = 0) -> dict[str, str]:
    return {
        **UNMEASURED,
        "CHAT_DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url,
        "PARLEY_KEY_RING": str(settings.key_ring),
        "PARLEY_AUTH_URL": settings.auth_url,
        "PARLEY_LOG_LEVEL": "error",
        "CHAT_PORT": str(port),
        "CHAT_ATTACHMENT_STORE": settings.attachment_store,
        "CHAT_UNGREETED_PER_ADDRESS": "10000",
        "CHAT_FRAME_RATE": "10000",
        "CHAT_FRAME_BURST": "10000",
        "CHAT_SEND_RATE": "10000",
        "CHAT_SEND_BURST": "10000",
        "CHAT_CONVERSATION_SEND_RATE": "10000",
        "CHAT_CONVERSATION_SEND_BURST": "10000",
        "CHAT_PEOPLE_RATE": "10000",
        "CHAT_PEOPLE_BURST": "10000",
    }


@contextlib.asynccontextmanager
async def process(settings: Settings) -> AsyncIterator[tuple[Node, Process]]:
    """A server as a process of its own, to be killed."""
    port = free_port()
    started = Process(["serve"], environment(settings, port))
    await started.start()
    node = Node(f"http://127.0.0.1:{port}")
    try:
        await ready(node)
        yield node, started
    finally:
        await node.http.aclose()
        await started.end()


async def ready(node: Node) -> None:
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(httpx2.TransportError):
                if (await node.http.get("/health/ready")).status_code == 200:
                    return
            await asyncio.sleep(0.05)


async def register(db: Database, count: int, issue_token: Any, prefix: str = "user") -> list[Person]:
    """People whose profiles have arrived."""
    people = []
    async with db.transaction() as session:
        for _ in range(count):
            user_id = uuid4()
            name = f"{prefix}_{user_id.hex[:10]}"
            profile = Profile(user_id=user_id, number=user_id.int % 10**12, username=name, first_name=prefix.title())
            await profiles.store(session, profile)
            people.append(Person(user_id, issue_token(user_id), name))
    return people


def shared(message: dict[str, Any]) -> dict[str, Any]:
    """A message without what it is to one person alone."""
    return {k: v for k, v in message.items() if k not in ("status", "is_read", "my_reactions", "saved")}


async def assert_gap_free(database: Database, conversation: str, messages: int) -> None:
    """Stored once each, numbered without holes, in both counts."""
    async with database.transaction() as db:
        seqs = (
            await db.scalars(
                text("SELECT seq FROM message WHERE conversation_id = :c ORDER BY seq"), {"c": conversation}
            )
        ).all()
        events = (
            await db.scalars(text("SELECT seq FROM event WHERE conversation_id = :c ORDER BY seq"), {"c": conversation})
        ).all()
        row = (
            await db.execute(text("SELECT message_seq, event_seq FROM conversation WHERE id = :c"), {"c": conversation})
        ).one()
    assert seqs == list(range(1, messages + 1))
    assert events == list(range(1, len(events) + 1))
    assert (row.message_seq, row.event_seq) == (messages, len(events))


async def talk(node: Node, person: Person, conversation: str, count: int, *, pause: float = 0.002) -> None:
    for number in range(count):
        await node.context.writer.send(UUID(conversation), person.id, content=f"{number}")
        await asyncio.sleep(pause)


def complete(conversation: str, count: int) -> Callable[[ChatClient], bool]:
    """Whether a client has so many messages of a conversation."""
    return lambda c: len([e for e in c.events(f"c:{conversation}") if e["t"] == "message.new"]) >= count


async def with_role(database: Database, conversation: str, person: Person, role: str) -> None:
    async with database.transaction() as db:
        await db.execute(
            text("UPDATE member SET role = :role WHERE conversation_id = :c AND user_id = :u"),
            {"role": role, "c": conversation, "u": person.id},
        )
