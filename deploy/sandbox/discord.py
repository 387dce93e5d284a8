"""A webhook of Discord: it takes messages for one channel, within a limit that its answers tell.

Facts: https://discord.com/developers/docs/resources/webhook, /resources/message (embeds) and /topics/rate-limits, read
2026-11. The size of a bucket is not documented; five in two seconds is what webhooks have been seen to have.
"""

import hmac
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from deploy.sandbox.boards import Board
from deploy.sandbox.clocks import MovableClock
from deploy.sandbox.effects import Effects
from deploy.sandbox.faults import Faults
from libs.clock import Clock

PROVIDER = "discord"
BUCKET, WITHIN = 5, 2.0
INVALID_MOST, INVALID_WITHIN = 10_000, 600.0
_INVALID = frozenset({401, 403, 429})


class Refused(Exception):
    """With Discord's JSON code and message, or `body` where it says more."""

    def __init__(self, status: int, code: int, message: str, **body: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"message": message, "code": code, **body}


class Banned(Exception):
    """The address has made too many invalid requests."""


class Discord:
    """One webhook, named `id/token`."""

    def __init__(self, webhook: str, effects: Effects, clock: Clock) -> None:
        self.clock = MovableClock(clock)
        self.faults = Faults()
        self.board = Board(PROVIDER, effects, clock)
        self.deleted = False
        self.invalid_most = INVALID_MOST
        self._webhook = webhook
        self._began = 0.0
        self._used = 0
        self._invalid: deque[float] = deque()
        self._last = 1_400_000_000_000_000_000

    def admit(self, webhook: str) -> None:
        """Raises Banned and Refused."""
        _forget(self._invalid, self.clock.seconds() - INVALID_WITHIN)
        if len(self._invalid) >= self.invalid_most:
            raise Banned
        here, _, token = self._webhook.partition("/")
        given, _, shown = webhook.partition("/")
        if given != here or self.deleted:
            raise Refused(404, 10015, "Unknown Webhook")
        if not hmac.compare_digest(shown.encode(), token.encode()):
            raise Refused(401, 50027, "Invalid Webhook Token")

    def count_invalid(self, status: int) -> None:
        if status in _INVALID:
            self._invalid.append(self.clock.seconds())

    def post(self, body: Any, thread: str | None) -> dict[str, Any]:
        """The message. Raises Refused."""
        self._take()
        if not isinstance(body, dict):
            raise Refused(400, 50109, "The request body contains invalid JSON.")
        content, embeds = body.get("content") or "", body.get("embeds") or []
        errors = dict(_errors(content, embeds))
        if errors:
            raise Refused(400, 50035, "Invalid Form Body", errors=errors)
        if not (content or embeds):
            raise Refused(400, 50006, "Cannot send an empty message")
        self._last += 1
        allowed = body.get("allowed_mentions", {"parse": ["everyone", "roles", "users"]})
        mentioned = "everyone" in allowed.get("parse", ()) and ("@everyone" in content or "@here" in content)
        seen = {"content": content, "embeds": embeds, "mention_everyone": mentioned}
        self.board.add("\n".join(_words(content, embeds)), list(_links(embeds)), {**seen, "thread": thread})
        return {"id": str(self._last), "type": 0, "channel_id": thread or "1", **seen}

    def headers(self) -> Mapping[str, str]:
        """What is left of the bucket."""
        reset = self._reset()
        return {
            "X-RateLimit-Limit": str(BUCKET),
            "X-RateLimit-Remaining": str(BUCKET - self._used),
            "X-RateLimit-Reset": f"{self.clock.seconds() + reset:.3f}",
            "X-RateLimit-Reset-After": f"{reset:.3f}",
            "X-RateLimit-Bucket": "80c17d2f203122d936070c88c8d10f33",
        }

    def _reset(self) -> float:
        """Seconds until the bucket is full again; it begins with the first request."""
        left = self._began + WITHIN - self.clock.seconds()
        if left <= 0:
            self._used = 0
        return left if self._used else WITHIN

    def _take(self) -> None:
        wait = self._reset()
        if self._used >= BUCKET:
            limited = {"retry_after": round(wait, 3), "global": False}
            raise Refused(429, 0, "You are being rate limited.", **limited)
        if not self._used:
            self._began = self.clock.seconds()
        self._used += 1


def _forget(times: deque[float], before: float) -> None:
    while times and times[0] <= before:
        times.popleft()


def _errors(content: Any, embeds: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(content, str) or len(content) > 2000:
        yield "content", _error("BASE_TYPE_MAX_LENGTH", "Must be 2000 or fewer in length.")
    if not isinstance(embeds, list) or len(embeds) > 10 or not all(isinstance(each, dict) for each in embeds):
        yield "embeds", _error("BASE_TYPE_MAX_LENGTH", "Must be 10 or fewer in length.")
        return
    total = 0
    for place, embed in enumerate(embeds):
        for name, most in (("title", 256), ("description", 4096)):
            text = embed.get(name, "")
            total += len(str(text))
            if not isinstance(text, str) or len(text) > most:
                yield (
                    "embeds",
                    {str(place): {name: _error("BASE_TYPE_MAX_LENGTH", f"Must be {most} or fewer in length.")}},
                )
    if total > 6000:
        yield "embeds", _error("MAX_EMBED_SIZE_EXCEEDED", "Embed size exceeds maximum size of 6000")


def _error(code: str, message: str) -> dict[str, Any]:
    return {"_errors": [{"code": code, "message": message}]}


def _words(content: str, embeds: list[dict[str, Any]]) -> Iterator[str]:
    if content:
        yield content
    for embed in embeds:
        yield from (str(embed[name]) for name in ("title", "description") if name in embed)
        if "image" in embed:
            yield f"[image: {embed['image'].get('url')}]"


def _links(embeds: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    yield from ((str(each.get("title", each["url"])), str(each["url"])) for each in embeds if "url" in each)
