"""Ended sessions and outdated tokens, known to every process within milliseconds.

Redis holds `rv:s:<session>`, `rv:u:<user>` and `rv:g` (epochs in milliseconds: tokens issued at or before them are
refused) for as long as any access token may live, and a stream `rv:log` of the same facts. Each process follows the
stream into a local set, so that a check costs a dictionary look-up. `rv:epoch` marks the life of the Redis data: when
it is missing or another one, Redis was flushed or replaced, and the set is completed from auth before it is trusted.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from libs import metrics
from libs.clock import Clock
from libs.errors import ServiceError, TokenRevoked, TokenStale, Unauthenticated
from libs.redis import read_stream
from libs.tokens import Claims

SESSION_KEY = "rv:s:"
USER_KEY = "rv:u:"
EVERYONE_KEY = "rv:g"
LOG_KEY = "rv:log"
EPOCH_KEY = "rv:epoch"
# The longest access token in force (12 h) and a minute for clocks that differ.
KEEP_SECONDS = 12 * 3600 + 60
HEARTBEAT_SECONDS = 1.0
_SILENT_SECONDS = 5.0
_LOG_LENGTH = 100_000
# An epoch that is published again must not lower a later one.
_RAISE = """
local epoch = math.max(tonumber(ARGV[1]), tonumber(redis.call('GET', KEYS[1]) or 0))
redis.call('SET', KEYS[1], string.format('%.0f', epoch), 'EX', ARGV[2])
"""

log = structlog.get_logger()

# TokenRevoked: the session has ended. TokenStale: it goes on, yet tokens issued up to an epoch are out of date.
Refusal = type[Unauthenticated]


@dataclass(frozen=True, slots=True)
class Active:
    """All revocations that still matter: what auth keeps in PostgreSQL."""

    sessions: dict[str, int] = field(default_factory=dict)  # session id -> when it ended, in ms
    users: dict[str, int] = field(default_factory=dict)  # user id -> epoch in ms
    everyone: int = 0


async def publish_session(redis: Redis, session_id: str) -> None:
    """Returns once Redis has it: the gateway refuses the very next request, other processes within milliseconds."""
    async with redis.pipeline(transaction=True) as pipe:
        pipe.set(SESSION_KEY + session_id, 1, ex=KEEP_SECONDS)
        pipe.xadd(LOG_KEY, {"s": session_id}, maxlen=_LOG_LENGTH, approximate=True)
        await pipe.execute()


async def publish_user(redis: Redis, user_id: str, epoch_ms: int) -> None:
    async with redis.pipeline(transaction=True) as pipe:
        pipe.eval(_RAISE, 1, USER_KEY + user_id, epoch_ms, KEEP_SECONDS)
        pipe.xadd(LOG_KEY, {"u": user_id, "e": epoch_ms}, maxlen=_LOG_LENGTH, approximate=True)
        await pipe.execute()


async def publish_everyone(redis: Redis, epoch_ms: int) -> None:
    async with redis.pipeline(transaction=True) as pipe:
        pipe.eval(_RAISE, 1, EVERYONE_KEY, epoch_ms, KEEP_SECONDS)
        pipe.xadd(LOG_KEY, {"g": epoch_ms}, maxlen=_LOG_LENGTH, approximate=True)
        await pipe.execute()


async def heartbeat(redis: Redis, epoch: str, active: Callable[[], Awaitable[Active]]) -> str:
    """Auth's worker calls this once a second. Returns the marker in force.

    When the marker is gone, all active revocations are written again before a new one is set: a reader that sees the
    new marker can trust the keys.
    """
    found: Any = await redis.get(EPOCH_KEY)
    if found is None:
        await _rewrite(redis, await active())
        await redis.set(EPOCH_KEY, epoch, nx=True)
        found = await redis.get(EPOCH_KEY)
    current = found.decode() if found else epoch
    await redis.xadd(LOG_KEY, {"h": current}, maxlen=_LOG_LENGTH, approximate=True)
    return current


async def _rewrite(redis: Redis, active: Active) -> None:
    async with redis.pipeline(transaction=True) as pipe:
        for session_id in active.sessions:
            pipe.set(SESSION_KEY + session_id, 1, ex=KEEP_SECONDS)
        for user_id, epoch_ms in active.users.items():
            pipe.eval(_RAISE, 1, USER_KEY + user_id, epoch_ms, KEEP_SECONDS)
        if active.everyone:
            pipe.eval(_RAISE, 1, EVERYONE_KEY, active.everyone, KEEP_SECONDS)
        await pipe.execute()


class Revocations:
    """The local set. `run` follows the stream; `refusal` answers from memory; `fresh` says whether it may be trusted.

    `pull` fetches the active revocations from auth. `on_change` is called after new facts, so that open sockets of
    ended sessions can be closed.
    """

    def __init__(
        self,
        redis: Redis,
        clock: Clock,
        pull: Callable[[], Awaitable[Active]],
        on_change: Callable[[], None] | None = None,
    ) -> None:
        self._redis = redis
        self._clock = clock
        self._pull = pull
        self._on_change = on_change
        self._sessions: dict[str, float] = {}
        self._users: dict[str, int] = {}
        self._everyone = 0
        self._epoch: str | None = None
        self._last_id = "0-0"
        self._heard = 0.0
        self._cleaned = 0.0

    def refusal(self, claims: Claims) -> Refusal | None:
        """Why a token is refused by what this process knows; None: it is not."""
        if claims.sid in self._sessions:
            return TokenRevoked
        if claims.iat_ms <= self._everyone or claims.iat_ms <= self._users.get(claims.sub, 0):
            return TokenStale
        return None

    def ended(self, session_id: str) -> bool:
        """Whether this process knows that the session has ended."""
        return session_id in self._sessions

    @property
    def fresh(self) -> bool:
        """Whether the stream was heard within five seconds; if not, Redis itself should be asked."""
        return self.lag < _SILENT_SECONDS

    @property
    def lag(self) -> float:
        """Seconds since the stream was heard last."""
        return asyncio.get_running_loop().time() - self._heard

    async def ask(self, claims: Claims) -> Refusal | None:
        """The same question put to Redis: one round trip, for the time in which the stream is silent.

        Raises RedisError when Redis is away too; then only what the process knows is left.
        """
        keys = [SESSION_KEY + claims.sid, USER_KEY + claims.sub, EVERYONE_KEY]
        session, user, everyone = await self._redis.mget(keys)
        if session:
            return TokenRevoked
        if claims.iat_ms <= max(int(user or 0), int(everyone or 0)):
            return TokenStale
        return self.refusal(claims)

    async def run(self) -> None:
        """Follows the stream for ever; falls back to retrying once a second while Redis is away."""
        while True:
            try:
                await self._follow()
            except (RedisError, OSError) as error:
                log.warning("revocations_unreachable", reason=type(error).__name__)
                await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _follow(self) -> None:
        if self._last_id == "0-0":
            # Older entries concern tokens that have expired since.
            self._last_id = f"{self._clock.ms() - KEEP_SECONDS * 1000}-0"
        changed = False
        marker: str | None = None
        for entry_id, raw in await read_stream(self._redis, LOG_KEY, self._last_id, count=1000, block_ms=2000):
            fields = {k.decode(): v.decode() for k, v in raw.items()}
            marker = fields.get("h", marker)
            changed |= self._apply(fields)
            self._last_id = entry_id
            self._measure()
        if marker is not None:
            changed |= await self._recognise(marker)
        if changed and self._on_change:
            self._on_change()
        self._clean()

    def _measure(self) -> None:
        # An entry's id begins with the moment at which Redis took it.
        told_ms = int(self._last_id.partition("-")[0])
        metrics.REVOCATION_LAG.set(max(0, self._clock.ms() - told_ms) / 1000)
        metrics.REVOCATION_HEARD.set_to_current_time()

    async def _recognise(self, marker: str) -> bool:
        """Another marker is another life of Redis: what it forgot comes from auth.

        While auth is away the set is not trusted, and Redis is asked for each request; the news is followed all the
        same, and the next heartbeat tries again.
        """
        renewed = marker != self._epoch
        if renewed:
            try:
                await self._complete()
            except ServiceError as error:
                log.warning("revocations_incomplete", reason=error.detail)
                return False
            self._epoch = marker
        self._heard = asyncio.get_running_loop().time()
        return renewed

    def _apply(self, fields: dict[str, str]) -> bool:
        if "s" in fields:
            self._sessions[fields["s"]] = self._clock.seconds() + KEEP_SECONDS
        elif "u" in fields:
            self._users[fields["u"]] = max(int(fields["e"]), self._users.get(fields["u"], 0))
        elif "g" in fields:
            self._everyone = max(int(fields["g"]), self._everyone)
        return not fields.keys().isdisjoint(("s", "u", "g"))

    async def _complete(self) -> None:
        active = await self._pull()
        until = self._clock.seconds() + KEEP_SECONDS
        self._sessions.update(dict.fromkeys(active.sessions, until))
        for user_id, epoch_ms in active.users.items():
            self._users[user_id] = max(epoch_ms, self._users.get(user_id, 0))
        self._everyone = max(active.everyone, self._everyone)

    def _clean(self) -> None:
        now = self._clock.seconds()
        if now - self._cleaned > 60:
            self._cleaned = now
            self._sessions = {sid: until for sid, until in self._sessions.items() if until > now}
            oldest = (now - KEEP_SECONDS) * 1000
            self._users = {user: epoch for user, epoch in self._users.items() if epoch > oldest}
