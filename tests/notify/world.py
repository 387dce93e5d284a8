"""Everything around notify: the two services that it hears, a mail provider, a database and a Valkey."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import uvicorn
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from deploy.sandbox.faults import Fault
from deploy.sandbox.server import Sandbox, listen
from libs.clock import Clock
from libs.contracts.accounts import MessageRequested, Profile, UserRegistered, UserUpdated
from libs.contracts.events import Event, EventData
from libs.contracts.messages import MessageSent
from libs.crypto import FieldCipher
from libs.db import Database
from libs.ids import uuid7
from libs.outbox import stream_of
from notify_service import worker
from notify_service.domain import digests
from notify_service.settings import Settings

CHECKOUT = Path(__file__).resolve().parents[2]
FIELD_KEYS = "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
PUBLIC_URL = "https://parley.example.test"
SMS_TOKEN = "parley"
SMTP_USER, SMTP_PASSWORD = "postman", "correct horse"


async def eventually(check: Callable[[], Awaitable[Any] | Any], seconds: float = 30) -> Any:
    """The first true answer of `check`."""
    async with asyncio.timeout(seconds):
        while True:
            answer = check()
            if isinstance(answer, Awaitable):
                answer = await answer
            if answer:
                return answer
            await asyncio.sleep(0.02)


class Producer:
    """Auth or chat, as far as notify can tell: a stream, and internal routes to ask."""

    def __init__(self, service: str, redis: Redis) -> None:
        self.service = service
        self.events: list[Event] = []
        self.profiles: dict[UUID, Profile] = {}
        self.asked: list[UUID] = []
        self.url = ""
        self.refill = 1000
        self._redis = redis
        self._relaying = asyncio.Lock()

    async def emit(self, data: EventData, *, at: datetime | None = None) -> Event:
        event = Event(
            id=uuid7(),
            type=data.type,
            producer=self.service,
            position=len(self.events) + 1,
            occurred_at=at or datetime.now(UTC),
            data=data.model_dump(mode="json"),
        )
        self.events.append(event)
        await self.relay()
        return event

    async def relay(self) -> None:
        """Appends what the stream lacks; after a flush no more than the newest `refill`."""
        stream = stream_of(self.service)
        async with self._relaying:
            last = await self._redis.xrevrange(stream, count=1)
            top = int(last[0][0].split(b"-")[0]) if last else max(0, len(self.events) - self.refill)
            for event in self.events[top:]:
                await self._redis.xadd(stream, {"event": event.model_dump_json()}, id=f"{event.position}-0")

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["Producer"]:
        app = Starlette(
            routes=[
                Route("/internal/events", self._read_events),
                Route("/internal/users", self._read_users),
                Route("/internal/revocations", self._read_revocations),
            ]
        )
        listener = listen("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        # As in production: a shorter one closes idle connections just when notify writes to them.
        server = _Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none", timeout_keep_alive=75))
        serving = asyncio.create_task(server.serve([listener]))
        try:
            yield self
        finally:
            server.should_exit = True
            await serving

    async def _read_events(self, request: Request) -> JSONResponse:
        after, limit = int(request.query_params["after"]), int(request.query_params["limit"])
        found = [event.model_dump(mode="json") for event in self.events[after : after + limit]]
        return JSONResponse({"events": found, "head": len(self.events)})

    async def _read_users(self, request: Request) -> JSONResponse:
        ids = [UUID(value) for value in request.query_params.getlist("id")]
        self.asked += ids
        found = [self.profiles[user].model_dump(mode="json") for user in ids if user in self.profiles]
        return JSONResponse({"users": found})

    async def _read_revocations(self, request: Request) -> JSONResponse:
        return JSONResponse({"sessions": {}, "users": {}, "everyone": 0})


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


@dataclass
class World:
    database_url: str
    redis_url: str
    redis: Redis
    key_ring: Path
    sandbox: Sandbox
    certificate: Path
    auth: Producer
    chat: Producer
    changed: dict[str, Any] = field(default_factory=dict)

    def settings(self, **changed: Any) -> Settings:
        return Settings(**{**self._values(), **self.changed, **changed})

    def environment(self, **changed: Any) -> dict[str, str]:
        """The same for a process of its own."""
        fixed = {
            "redis_url": "REDIS_URL",
            "key_ring": "PARLEY_KEY_RING",
            "field_keys": "PARLEY_FIELD_KEYS",
            "auth_url": "PARLEY_AUTH_URL",
            "chat_url": "PARLEY_CHAT_URL",
            "public_url": "PARLEY_PUBLIC_URL",
        }
        values = {**self._values(), **self.changed, **changed}
        named = {fixed.get(name, f"NOTIFY_{name.upper()}"): str(value) for name, value in values.items()}
        return {**os.environ, **named, "PYTHONPATH": str(CHECKOUT), "PARLEY_ENVIRONMENT": "development"}

    def _values(self) -> dict[str, Any]:
        credentials = f"{SMTP_USER}:{SMTP_PASSWORD.replace(' ', '%20')}"
        return {
            "database_url": self.database_url,
            "redis_url": self.redis_url,
            "key_ring": self.key_ring,
            "field_keys": FIELD_KEYS,
            "auth_url": self.auth.url,
            "chat_url": self.chat.url,
            "public_url": PUBLIC_URL,
            "smtp_url": f"smtp://{credentials}@127.0.0.1:{self.sandbox.smtp_port}?starttls=required",
            "smtp_ca_file": self.certificate,
            "sms_url": f"http://127.0.0.1:{self.sandbox.http_port}/sms/messages",
            "sms_token": SMS_TOKEN,
            "mail_from": "Parley <parley@example.test>",
            "private_networks": True,
            "smtp_timeout_seconds": 10,
            "retry_base_seconds": 0.05,
            "retry_cap_seconds": 0.2,
            "max_attempts": 4,
            "breaker_seconds": 0.1,
            "lease_seconds": 2,
        }

    async def register(self, *, verified: bool = True, heard: bool = True, **changed: Any) -> Profile:
        """A new user with a mailbox, of whom notify has heard."""
        profile = self.profile(verified=verified, **changed)
        await self.auth.emit(UserRegistered(profile=profile))
        if heard:
            await self.heard()
        return profile

    def profile(self, *, verified: bool = True, **changed: Any) -> Profile:
        user_id = uuid4()
        given = {"email": f"{user_id.hex}@example.test", "email_verified": verified, "first_name": "Ada", **changed}
        profile = Profile(user_id=user_id, number=1, username=f"user{user_id.hex[:8]}", **given)
        self.auth.profiles[user_id] = profile
        return profile

    async def update(self, profile: Profile, **changed: Any) -> Profile:
        updated = profile.model_copy(update={"version": profile.version + 1, **changed})
        await self.auth.emit(UserUpdated(profile=updated))
        await self.heard()
        return updated

    async def say(self, *away: Profile, excerpt: str = "Are you there?", **changed: Any) -> MessageSent:
        """A message that these people were not there to see."""
        values = {
            "message_id": uuid7(),
            "conversation_id": uuid7(),
            "conversation_type": "direct",
            "conversation_name": "",
            "seq": 1,
            "sender_id": uuid4(),
            "sender_name": "Grace Hopper",
            "excerpt": excerpt,
            "sent_at": datetime.now(UTC),
            "away": [profile.user_id for profile in away],
        }
        data = MessageSent.model_validate({**values, **changed})
        await self.chat.emit(data)
        return data

    async def ask_to_verify(
        self, profile: Profile, secret: str | None = "s3cret-token", **changed: Any
    ) -> MessageRequested:
        message_id = uuid7()
        values = {
            "id": message_id,
            "kind": "verify_email",
            "user_id": profile.user_id,
            "email": profile.email,
            "name": "Ada",
            "secret": secret and FieldCipher(FIELD_KEYS).encrypt(secret, f"message:{message_id}"),
        }
        data = MessageRequested.model_validate({**values, **changed})
        await self.auth.emit(data)
        return data

    async def ask_to_text(
        self, phone: str, secret: str = "123456", *, at: datetime | None = None, **changed: Any
    ) -> UUID:
        """A code for a phone that belongs to nobody yet."""
        message_id = uuid7()
        values = {
            "id": message_id,
            "kind": "phone_code",
            "channel": "sms",
            "phone_number": phone,
            "secret": FieldCipher(FIELD_KEYS).encrypt(secret, f"message:{message_id}"),
        }
        await self.auth.emit(MessageRequested.model_validate({**values, **changed}), at=at)
        return message_id

    def texts(self, phone: str) -> list[str]:
        """What is on that phone, newest first."""
        return [each.text for each in self.sandbox.texts.newest_first(phone)]

    def break_texts(self, phone: str, **fault: Any) -> None:
        self.sandbox.texts.faults.add(Fault(match=phone, **fault))

    async def ended_text(self, delivery_id: UUID) -> Any:
        """The row of a text, once it has come to an end."""

        async def check() -> Any:
            rows = await self.sql("SELECT * FROM delivery WHERE id = $1", delivery_id)
            return rows[0] if rows and rows[0]["state"] not in {"queued", "claimed", "sending", "retry"} else None

        return await eventually(check)

    def mails(self, profile: Profile) -> list[Any]:
        """What is in the person's mailbox."""
        return self.sandbox.postbox.mailbox.newest_first(profile.email or "")

    def delivered(self, part: str = "") -> list[str]:
        """The addresses that got a mail, once for each; from the log that nothing is ever taken out of."""
        effects = self.sandbox.postbox.effects.since(0)
        return [to for effect in effects if effect.kind == "delivered" for to in effect.recipients if part in to]

    def break_mail(self, profile: Profile | None = None, **fault: Any) -> None:
        self.sandbox.postbox.faults.add(Fault(match=(profile and profile.email) or "", **fault))

    async def sql(self, query: str, *values: Any) -> list[Any]:
        connection = await asyncpg.connect(self.database_url)
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()

    async def deliveries(self, profile: Profile) -> list[Any]:
        return await self.sql("SELECT * FROM delivery WHERE user_id = $1 ORDER BY id", profile.user_id)

    async def ended(self, profile: Profile, count: int = 1) -> list[Any]:
        """The deliveries of a person, once there are so many and all have come to an end."""

        async def check() -> list[Any]:
            rows = await self.deliveries(profile)
            open_states = {"collected", "queued", "claimed", "sending", "retry"}
            return rows if len(rows) >= count and not open_states & {row["state"] for row in rows} else []

        return list(await eventually(check))

    async def close_digests(self, category: str) -> None:
        """As if their time had come. Returns once all are closed, by this turn or by one of the worker's."""
        database = Database(self.database_url, service="notify")
        await self.sql("UPDATE digest SET closes_at = now() WHERE category = $1", category)

        async def closed() -> bool:
            await digests.work(database, Clock())
            return not await self.sql("SELECT 1 FROM digest WHERE category = $1 AND closes_at <= now()", category)

        await eventually(closed)
        await database.close()

    async def heard(self) -> None:
        """Returns once notify has applied everything that auth and chat said so far."""

        async def check() -> bool:
            rows = await self.sql("SELECT producer, position FROM consumer_position")
            reached = {row["producer"]: row["position"] for row in rows}
            return all(reached.get(p.service, 0) >= len(p.events) for p in (self.auth, self.chat))

        await eventually(check)

    @asynccontextmanager
    async def listening(self, user_id: UUID) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
        """`told = await heard()`: the next that an open socket of this user is told."""
        async with self.redis.pubsub() as live:

            async def heard() -> Any:
                return json.loads((await eventually(lambda: live.get_message(timeout=1)))["data"])

            await live.subscribe(f"{{u}}.n:{user_id}")
            # Redis has heard it.
            await eventually(lambda: live.get_message(timeout=1))
            yield heard

    @asynccontextmanager
    async def working(self, **changed: Any) -> AsyncIterator[None]:
        """A worker in this process."""
        task = asyncio.create_task(worker.main(self.settings(**changed)))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def start(self, **changed: Any) -> asyncio.subprocess.Process:
        """A worker in a process of its own."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "notify_service",
            "worker",
            env=self.environment(**changed),
            cwd="/tmp",
            stdout=asyncio.subprocess.DEVNULL,
        )


async def kill(process: asyncio.subprocess.Process, number: int = signal.SIGKILL) -> None:
    if process.returncode is None:
        process.send_signal(number)
        await process.wait()
