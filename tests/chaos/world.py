"""Servers, processes and people of one storm, and what must hold behind it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
from redis.asyncio import Redis
from sqlalchemy import text

from chat_service.settings import Settings
from deploy.local.ports import free_port
from deploy.local.servers import ValkeyServer
from libs.db import Database
from libs.redis import connect
from libs.testing.clock import FakeClock
from parley_client import Chat, ChatClient, Conversation, Frame, LocalCopy
from tests.chaos.proxies import Proxy, proxy
from tests.chat.nodes import Node, Person, Process, environment, ready, register, running

PATIENCE = 90.0


@dataclass
class World:
    database: Database
    database_url: str
    valkey: ValkeyServer
    redis: Redis
    to_redis: Proxy
    to_postgres: Proxy
    near: Node
    """In this process, with a clock that can be moved, behind both proxies."""
    clock: FakeClock
    far: Node
    """A process of its own, to be killed."""
    far_process: Process
    issue_token: Callable[..., str]
    people: list[Person] = field(default_factory=list)
    chats: dict[str, Chat] = field(default_factory=dict)
    followed: dict[str, list[Conversation]] = field(default_factory=dict)
    acks: list[tuple[str, str, str, Frame]] = field(default_factory=list)
    """Conversation, sender, `client_msg_id` and what the server answered."""
    seen: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    """By person and conversation the numbers of the new messages, in the order in which they were shown."""

    async def kill_far(self) -> None:
        await self.far_process.end()
        await asyncio.sleep(0.5)
        await self.far_process.start()

    async def terminate_backends(self) -> None:
        connection = await asyncpg.connect(self.database_url)
        try:
            query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            await connection.execute(f"{query} WHERE datname = current_database() AND pid <> pg_backend_pid()")
        finally:
            await connection.close()

    async def restart_redis(self) -> None:
        self.valkey.kill()
        await asyncio.sleep(1)
        await self.valkey.start()

    async def partition(self, proxy_: Proxy, seconds: float) -> None:
        proxy_.sever()
        await asyncio.sleep(seconds)
        proxy_.heal()

    async def step_clock(self) -> None:
        self.clock.advance(240)
        await asyncio.sleep(1)
        self.clock.advance(-300)
        await asyncio.sleep(1)
        self.clock.advance(60)

    async def freeze_reader(self) -> None:
        """Somebody follows everything and reads nothing."""
        person = self.people[-1]
        client = ChatClient(self.near.socket_url)
        await client.open()
        await client.hello(person.token)
        await client.sub(*(c.key for c in self.followed[person.name]))
        client.socket.transport.pause_reading()
        await asyncio.sleep(2)
        client.abort()

    async def talk(self, person: Person, conversation: str, stop: asyncio.Event) -> None:
        """Says numbers, one after the other, each until it is acknowledged."""
        chat, number = self.chats[person.name], 0
        while not stop.is_set():
            key = str(uuid4())
            ack = await chat.send(conversation, f"{person.name} {number}", client_msg_id=key)
            self.acks.append((conversation, person.name, key, ack))
            number += 1
            await asyncio.sleep(0.03)

    def shown(self, person: Person) -> Callable[[str, str, Any], None]:
        def show(stream: str, kind: str, data: Any) -> None:
            if kind == "message.new":
                self.seen.setdefault((person.name, stream), []).append(data["seq"])

        return show


@contextlib.asynccontextmanager
async def storm(
    database_url: str, settings_for: Callable[..., Settings], issue_token: Callable[..., str]
) -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as stack:
        valkey = await stack.enter_async_context(ValkeyServer())
        redis = connect(valkey.url)
        stack.push_async_callback(redis.aclose)
        to_redis = await stack.enter_async_context(proxy("127.0.0.1", urlsplit(valkey.url).port or 6379))
        to_postgres = await stack.enter_async_context(proxy("127.0.0.1", urlsplit(database_url).port or 5432))
        database = Database(database_url, service="chat")
        stack.push_async_callback(database.close)
        behind = {
            "database_url": _through(database_url, to_postgres.port),
            "redis_url": _through(valkey.url, to_redis.port),
        }
        straight = settings_for(database_url=database_url, redis_url=valkey.url)
        clock = FakeClock()
        near = await stack.enter_async_context(running(settings_for(**behind), clock))
        port = free_port()
        far_process, worker = (
            Process(["serve"], environment(straight, port)),
            Process(["worker"], environment(straight)),
        )
        far = Node(f"http://127.0.0.1:{port}")
        for started in (far_process, worker):
            await started.start()
            stack.push_async_callback(started.end)
        stack.push_async_callback(far.http.aclose)
        async with asyncio.timeout(PATIENCE):
            await _up(far)
        world = World(
            database=database,
            database_url=database_url,
            valkey=valkey,
            redis=redis,
            to_redis=to_redis,
            to_postgres=to_postgres,
            near=near,
            clock=clock,
            far=far,
            far_process=far_process,
            issue_token=issue_token,
        )
        world.people = await register(database, 5, issue_token)
        for number, person in enumerate(world.people):
            node = (near, far)[number % 2]
            chat = await stack.enter_async_context(Chat(node.url, _token_of(person)))
            chat.on_change = world.shown(person)
            world.chats[person.name] = chat
        conversations = [await near.group(*world.people), await near.group(*world.people[:3])]
        for person in world.people:
            mine = conversations if person in world.people[:3] else conversations[:1]
            world.followed[person.name] = [await world.chats[person.name].follow(c) for c in mine]
        yield world


async def _up(node: Node) -> None:
    while True:
        with contextlib.suppress(TimeoutError):
            return await ready(node)


def _token_of(person: Person) -> Callable[[bool], Any]:
    async def token(_fresh: bool) -> str:
        return person.token

    return token


def _through(url: str, port: int) -> str:
    parts = urlsplit(url)
    place = parts.netloc.rpartition(":")[0]
    return urlunsplit(parts._replace(netloc=f"{place}:{port}"))


async def calm(world: World) -> None:
    """Waits until every copy is what a fresh one is."""
    for person in world.people:
        for conversation in world.followed[person.name]:
            async with asyncio.timeout(PATIENCE):
                while not await _is_exact(world, conversation, world.chats[person.name]):
                    await asyncio.sleep(0.2)


async def _is_exact(world: World, conversation: Conversation, chat: Chat) -> bool:
    fresh = await LocalCopy.read(chat.api, conversation.id)
    if conversation.copy is None or conversation.copy.seq != fresh.seq:
        return False
    kept = {key: conversation.copy.messages[key] for key in fresh.messages if key in conversation.copy.messages}
    assert replace(conversation.copy, messages=kept) == fresh, f"{conversation.key} differs from what is stored"
    return True


async def assert_kept(world: World, issue_token: Callable[..., str]) -> None:
    """Nothing acknowledged is lost, nothing is there twice, and the order is that of the senders."""
    async with world.database.transaction() as db:
        rows = (await db.execute(text("SELECT id, conversation_id, seq, client_msg_id FROM message"))).all()
    stored = {(str(row.conversation_id), str(row.client_msg_id)): (str(row.id), row.seq) for row in rows}
    assert len(stored) == len(rows)
    for conversation, _, key, ack in world.acks:
        assert stored[conversation, key] == (ack["id"], ack["seq"])
    spoken: dict[tuple[str, str], list[int]] = {}
    for conversation, name, _, ack in world.acks:
        spoken.setdefault((conversation, name), []).append(ack["seq"])
    for seqs in spoken.values():
        assert seqs == sorted(set(seqs))
    for shown in world.seen.values():
        assert shown == sorted(set(shown)), "shown twice, or out of order"
    await _assert_whole(world, issue_token)


async def _assert_whole(world: World, issue_token: Callable[..., str]) -> None:
    admin_id = uuid4()
    admin = Person(admin_id, issue_token(admin_id, roles=["admin"]), "admin")
    for conversation in {ack[0] for ack in world.acks}:
        answer = await world.near.call(admin, "GET", f"/admin/chat/conversations/{conversation}/verify")
        assert answer.json()["problems"] == {}, answer.text
    for person in world.people:
        for followed in world.followed[person.name]:
            said = (await world.near.call(person, "GET", f"/conversations/{followed.id}")).json()
            unread = (
                "SELECT count(*) FROM message AS m JOIN member AS me ON me.conversation_id = m.conversation_id"
                " WHERE me.conversation_id = :c AND me.user_id = :u AND m.seq > me.last_read_seq AND NOT m.uncounted"
            )
            async with world.database.transaction() as db:
                assert said["unread_count"] == await db.scalar(text(unread), {"c": followed.id, "u": person.id})
