"""Who is connected, for the worker that tells the others.

`pn:<node>` says that a process lives; `pu:<user>` is a hash from connection to process, with a mark behind it where the
client says that nobody looks at it. A user is there while one of them lives, and away while all that live are marked.
Refreshing costs one key a process, however many sockets it holds, and a killed process is believed dead after 30
seconds. After a flush each process writes its connections again.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from chat_service.domain.bus import Bus
from libs.clock import Clock

TO_SEE = "p:see"
"""Users whom the worker has to look at, by the millisecond from which on."""
_NODES = "p:nodes"
# Longer than a reconnect takes, so that one is not told as going and coming.
_GRACE = timedelta(seconds=15)
_NODE_SECONDS = 30
# A missing key means that Redis was flushed and everybody looks away: a second of that is enough.
_LOOK_SECONDS = 1.0
_USER_SECONDS = 24 * 3600
_AGAIN_SECONDS = 8 * 3600
_CHUNK = 500
_IDLE = "|idle"
ONLINE, AWAY, OFFLINE = "online", "away", "offline"

log = structlog.get_logger()


def _node_key(node: str) -> str:
    return f"pn:{node}"


def _user_key(user_id: UUID) -> str:
    return f"pu:{user_id}"


class Presence:
    """This process's half: what it says of its own connections, `(connection, user)` each."""

    def __init__(self, bus: Bus, redis: Redis, node: str, clock: Clock) -> None:
        self._bus = bus
        self._redis = redis
        self._node = node
        self._clock = clock
        self.connected: Callable[[], Iterable[tuple[str, UUID]]] = lambda: ()
        self._idle: set[str] = set()

    def arrive(self, connection: str, user_id: UUID) -> None:
        key = _user_key(user_id)
        self._bus.send(b"HSET", key, connection, self._node + _IDLE if connection in self._idle else self._node)
        self._bus.send(b"EXPIRE", key, _USER_SECONDS)
        self.look(user_id)

    def look(self, user_id: UUID) -> None:
        """Has the worker look at once whether the user is here."""
        self._bus.send(b"ZADD", TO_SEE, self._clock.ms(), str(user_id))

    def report(self, connection: str, user_id: UUID, *, idle: bool) -> None:
        """A client says whether somebody looks at it."""
        if idle != (connection in self._idle):
            (self._idle.add if idle else self._idle.discard)(connection)
            self.arrive(connection, user_id)

    def leave(self, connection: str, user_id: UUID) -> None:
        self._idle.discard(connection)
        self._bus.send(b"HDEL", _user_key(user_id), connection)
        self._bus.send(b"ZADD", TO_SEE, due_after_leaving(self._clock), str(user_id))

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        again = loop.time()
        while True:
            try:
                before = await self._live_on()
            except (RedisError, OSError) as error:
                log.warning("presence_unwritten", reason=type(error).__name__)
                before = None
            if before is None or loop.time() >= again:
                again = loop.time() + _AGAIN_SECONDS
                await self._write_all()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _live_on(self) -> Any:
        """None when Redis did not know that this process lives."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(_node_key(self._node), 1, ex=_NODE_SECONDS, get=True)
            pipe.sadd(_NODES, self._node)
            return (await pipe.execute())[0]

    async def _write_all(self) -> None:
        for number, (connection, user_id) in enumerate(list(self.connected())):
            self.arrive(connection, user_id)
            if number % _CHUNK == _CHUNK - 1:
                await asyncio.sleep(0)

    async def end(self) -> None:
        """The process is ending: nobody is here any more. Sparing others the 30 seconds is a courtesy."""
        try:
            async with asyncio.timeout(1):
                await self._redis.delete(_node_key(self._node))
        except (RedisError, OSError, TimeoutError):
            return


def due_after_leaving(clock: Clock) -> int:
    return clock.ms() + _GRACE // timedelta(milliseconds=1)


def moment(due_ms: float, *, left: bool) -> datetime:
    """When that came to pass which is to be looked at."""
    seen = datetime.fromtimestamp(due_ms / 1000, UTC)
    return seen - _GRACE if left else seen


async def lost_nodes(redis: Redis) -> list[str]:
    """Processes that have ended and are not forgotten yet. Raises RedisError."""
    members: Any = await redis.smembers(_NODES)
    names = sorted(name.decode() for name in members)
    marks = await redis.mget([_node_key(name) for name in names]) if names else []
    return [name for name, mark in zip(names, marks, strict=True) if mark is None]


async def forget_nodes(redis: Redis, names: Sequence[str]) -> None:
    await redis.srem(_NODES, *names)


async def states(redis: Redis, user_ids: Sequence[UUID]) -> dict[UUID, str]:
    """What all devices of each user say together. Raises RedisError. Entries of dead processes are removed."""
    if not user_ids:
        return {}
    async with redis.pipeline(transaction=False) as pipe:
        for user_id in user_ids:
            pipe.hgetall(_user_key(user_id))
        entries: list[dict[bytes, bytes]] = await pipe.execute()
    nodes = sorted({_node_of(mark) for entry in entries for mark in entry.values()})
    marks = await redis.mget([_node_key(node) for node in nodes]) if nodes else []
    alive = {node for node, mark in zip(nodes, marks, strict=True) if mark is not None}
    found: dict[UUID, str] = {}
    async with redis.pipeline(transaction=False) as pipe:
        for user_id, entry in zip(user_ids, entries, strict=True):
            living = {connection: mark for connection, mark in entry.items() if _node_of(mark) in alive}
            found[user_id] = _merged(living.values())
            if len(living) < len(entry):
                pipe.hdel(_user_key(user_id), *(entry.keys() - living.keys()))
        await pipe.execute()
    return found


async def away(redis: Redis, user_ids: Sequence[UUID]) -> set[UUID]:
    """Those without a live connection anywhere. Raises RedisError."""
    return {user_id for user_id, state in (await states(redis, user_ids)).items() if state == OFFLINE}


def _node_of(mark: bytes) -> str:
    return mark.decode().removesuffix(_IDLE)


def _merged(marks: Collection[bytes]) -> str:
    if not marks:
        return OFFLINE
    return AWAY if all(mark.endswith(_IDLE.encode()) for mark in marks) else ONLINE
