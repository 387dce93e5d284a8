"""What the sockets of a process share."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from redis.asyncio import Redis

from chat_service.domain.bus import Bus
from chat_service.domain.hub import Hub
from chat_service.domain.limits import Limit, SendLimits
from chat_service.domain.log import Log
from chat_service.domain.presence import Presence
from chat_service.domain.sending import Writer
from libs.clock import Clock
from libs.lanes import Lanes
from libs.revocation import Refusal
from libs.tokens import Claims


@dataclass(frozen=True, slots=True)
class Context:
    clock: Clock
    redis: Redis
    bus: Bus
    hub: Hub
    log: Log
    lanes: Lanes
    writer: Writer
    presence: Presence
    authenticate: Callable[[str], Awaitable[Claims]]
    """Raises Unauthenticated. The user's id is a UUID."""
    refused: Callable[[Claims], Awaitable[Refusal | None]]
    """Why valid claims count no more; None: they do."""
    send_limits: SendLimits
    frame_limit: Limit
    byte_limit: Limit
    subscribe_limit: Limit
    typing_limit: Limit
    sockets_per_user: int
    streams_per_socket: int
    heartbeat_seconds: float
    idle_seconds: float
    message_max_bytes: int

    def send_allowed(self, user_id: UUID, conversation_id: UUID) -> None:
        """Raises Throttled."""
        self.send_limits.check(user_id, conversation_id, asyncio.get_running_loop().time())
