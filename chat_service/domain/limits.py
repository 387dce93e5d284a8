"""Limits of one process, in memory: a flood must cost less than what it asks for."""

from collections.abc import Hashable
from uuid import UUID

from chat_service.domain.frames import Throttled

_SWEEP_AT = 10_000


class Limit:
    """GCRA: a number a key, the moment at which its bucket will be full again.

    Several processes each allow the rate; the gateway's limit over all is the other half.
    """

    __slots__ = ("_full_at", "_room", "_step", "_sweep_at")

    def __init__(self, rate: float, burst: int) -> None:
        self._step = 1 / rate
        self._room = (burst - 1) * self._step
        self._full_at: dict[Hashable, float] = {}
        self._sweep_at = _SWEEP_AT

    def wait(self, key: Hashable, now: float, cost: float = 1) -> float:
        """Takes `cost` and returns 0, or takes nothing and returns the seconds until there would be room."""
        full_at = max(self._full_at.get(key, 0.0), now)
        over = full_at - now - self._room
        if over > 0:
            return over
        self._full_at[key] = full_at + cost * self._step
        if len(self._full_at) > self._sweep_at:
            self._full_at = {k: t for k, t in self._full_at.items() if t > now}
            self._sweep_at = max(_SWEEP_AT, 2 * len(self._full_at))
        return 0.0


class SendLimits:
    """Of messages, by user and by user and conversation; HTTP and sockets of this process share them."""

    def __init__(self, user: Limit, conversation: Limit) -> None:
        self._user = user
        self._conversation = conversation

    def check(self, user_id: UUID, conversation_id: UUID, now: float) -> None:
        """Raises Throttled."""
        wait = self._user.wait(user_id, now) or self._conversation.wait((user_id, conversation_id), now)
        if wait:
            raise Throttled(wait)
