"""What the sockets of a process share."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from redis.asyncio import Redis

from chat_service.domain.bus import Bus
from chat_service.domain.frames import Throttled
from chat_service.domain.hub import Hub
from chat_service.domain.limits import Limit, SendLimits
from chat_service.domain.log import Log
from chat_service.domain.presence import Presence
from chat_service.domain.receipt_feed import ReceiptFeed
from chat_service.domain.recent import Recent
from chat_service.domain.sending import Writer
from chat_service.domain.uploads import Files
from chat_service.domain.watching import Watching
from libs.clock import Clock
from libs.db import Database
from libs.lanes import Lanes
from libs.revocation import Refusal
from libs.tokens import Claims


@dataclass(frozen=True, slots=True)
class Context:
    clock: Clock
    db: Database
    redis: Redis
    bus: Bus
    hub: Hub
    log: Log
    lanes: Lanes
    locking: Lanes
    """For what may have to wait for the lock of a conversation: who only reads does not wait behind it."""
    recent: Recent
    writer: Writer
    presence: Presence
    receipts: ReceiptFeed
    watching: Watching
    files: Files
    authenticate: Callable[[str], Awaitable[Claims]]
    """Raises Unauthenticated. The user's id is a UUID."""
    refused: Callable[[Claims], Awaitable[Refusal | None]]
    """Why valid claims count no more; None: they do."""
    read_notification: Callable[[UUID, UUID], Awaitable[bool]]
    """Tells notify that the user has read it; false: there is none. Raises Unavailable."""
    send_limits: SendLimits
    frame_limit: Limit
    byte_limit: Limit
    subscribe_limit: Limit
    typing_limit: Limit
    watch_limit: Limit
    """Of users to be watched, by user."""
    content_limit: Limit
    sync_limit: Limit
    """Of changes to messages that are there already, by user."""
    people_limit: Limit
    """Of what is done with other people, by kind and user."""
    conversation_members: int
    rooms_gap_seconds: float
    """Between two messages of the Rooms client, by user and conversation."""
    sockets_per_user: int
    ungreeted_per_address: int
    streams_per_socket: int
    heartbeat_seconds: float
    idle_seconds: float
    message_max_bytes: int
    typing_max_members: int
    edit_seconds: int
    delete_seconds: int

    def send_allowed(self, user_id: UUID, conversation_id: UUID) -> None:
        """Raises Throttled."""
        self.send_limits.check(user_id, conversation_id, asyncio.get_running_loop().time())

    def change_allowed(self, user_id: UUID) -> None:
        """Edits, reactions, pins. Raises Throttled."""
        wait = self.content_limit.wait(user_id, asyncio.get_running_loop().time())
        if wait:
            raise Throttled(wait)

    def people_allowed(self, kind: str, user_id: UUID) -> None:
        """Starting conversations, adding people, asking to be contacts, reporting. Raises Throttled."""
        wait = self.people_limit.wait((kind, user_id), asyncio.get_running_loop().time())
        if wait:
            raise Throttled(wait)
