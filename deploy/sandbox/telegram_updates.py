"""What a Telegram bot is told: kept until it is asked for with a higher offset, or sent to its webhook."""

import asyncio
import json
import re
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from deploy.sandbox.callbacks import Callbacks, Manners
from deploy.sandbox.telegram_chats import Refused

KEPT = 10_000
_LONGEST_POLL = 50.0
_HERE = ("127.0.0.1", "localhost", "::1", "sandbox", "gateway", "notify")
_PORTS = (443, 80, 88, 8443, None)
_BY_DEFAULT = frozenset({"message", "edited_message", "callback_query", "my_chat_member"})


class Updates:
    def __init__(self) -> None:
        self.callbacks = Callbacks(self._pack)
        self._waiting: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._last = 100_000_000
        self._secret = ""
        self._allowed: frozenset[str] = frozenset()
        self._news = asyncio.Event()

    @property
    def url(self) -> str:
        return self.callbacks.manners.url or ""

    def behave(self, manners: Manners) -> None:
        """Telegram tells one update in a call, and where it does so is for the bot to say."""
        self.callbacks.manners = manners.model_copy(update={"url": self.url or None, "batch": 1})

    def add(self, kind: str, value: Mapping[str, Any]) -> int:
        """The update's id."""
        self._last += 1
        if kind in (self._allowed or _BY_DEFAULT):
            update = {"update_id": self._last, kind: dict(value)}
            if self.url:
                self.callbacks.add(update)
            else:
                self._waiting.append(update)
                self._news.set()
        return self._last

    def set_webhook(self, body: Mapping[str, Any]) -> bool:
        """https and the ports that Telegram calls; addresses of our own are taken as they are. Raises Refused."""
        url, secret = str(body.get("url", "")), str(body.get("secret_token", ""))
        parts = urlsplit(url)
        if url and parts.hostname not in _HERE and (parts.scheme != "https" or parts.port not in _PORTS):
            raise Refused(400, "Bad Request: bad webhook: An HTTPS URL must be provided for webhook")
        if secret and not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", secret):
            raise Refused(400, "Bad Request: secret token contains unallowed characters")
        self._allow(body)
        self._secret = secret
        self.callbacks.manners = self.callbacks.manners.model_copy(update={"url": url or None})
        self._news.set()
        if body.get("drop_pending_updates") is True:
            self._waiting.clear()
        if url:
            waiting, self._waiting = self._waiting, deque(maxlen=KEPT)
            self.callbacks.add(*waiting)
        return True

    def delete_webhook(self, body: Mapping[str, Any]) -> bool:
        return self.set_webhook({"drop_pending_updates": body.get("drop_pending_updates")})

    def webhook(self) -> dict[str, Any]:
        found = {"url": self.url, "has_custom_certificate": False, "pending_update_count": len(self._waiting)}
        trouble = {"last_error_message": "Wrong response from the webhook"} if self.callbacks.refused else {}
        return {**found, **trouble}

    async def get(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Those from `offset` on; the ones before it are forgotten. Raises Refused."""
        if self.url:
            words = "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
            raise Refused(409, f"Conflict: {words}")
        self._allow(body)
        offset, limit = int(body.get("offset", 0)), max(1, min(int(body.get("limit", 100)), 100))
        while offset > 0 and self._waiting and self._waiting[0]["update_id"] < offset:
            self._waiting.popleft()
        if not self._waiting:
            self._news.clear()
            try:
                async with asyncio.timeout(min(float(body.get("timeout", 0)), _LONGEST_POLL)):
                    await self._news.wait()
            except TimeoutError:
                pass
            if self.url:
                raise Refused(409, "Conflict: terminated by setWebhook request")
        return list(self._waiting)[:limit]

    def _allow(self, body: Mapping[str, Any]) -> None:
        allowed = body.get("allowed_updates")
        if isinstance(allowed, list):
            self._allowed = frozenset(str(each) for each in allowed)

    def _pack(self, items: Sequence[Any]) -> tuple[bytes, Mapping[str, str]]:
        secret = {"X-Telegram-Bot-Api-Secret-Token": self._secret} if self._secret else {}
        return json.dumps(items[0]).encode(), {"Content-Type": "application/json", **secret}
