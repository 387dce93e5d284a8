"""What is asked of Telegram beside sending: who a bot is, what it was told, where it is told, and files of people.

Facts: https://core.telegram.org/bots/api (10.2), read 2026-11. Everything raises Refused.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import httpx2

from notify_service.domain.channels import ErrorClass, Outcome, Setup
from notify_service.domain.channels.http import Answer, Refused, unanswered
from notify_service.domain.channels.inbound import Event, Source
from notify_service.domain.channels.telegram import Config, Secrets, base_of
from notify_service.domain.channels.telegram_errors import judge
from notify_service.domain.channels.telegram_inbound import KINDS, events_of, id_of

# Fifty updates with the longest texts, what they answer and their markup are less.
_MOST_BYTES, _MOST_UPDATES = 8 * 1024 * 1024, 50
# Of one question without news; Telegram takes up to 50.
_WAIT_SECONDS = 25
_PATH = re.compile(r"[A-Za-z0-9_./-]{1,512}")


async def look(setup: Setup) -> Mapping[str, Any]:
    """The bot: `id`, `username`, `first_name`. Its links are https://t.me/<username>?start=<payload>."""
    return _mapping(await _ask(setup, "getMe"))


async def subscribe(setup: Setup, url: str) -> None:
    """Updates come to this address from now on, which is https and has no port but 443, 80, 88 or 8443."""
    secrets: Secrets = setup.secrets
    if secrets.webhook_secret is None:
        raise Refused(Outcome(ErrorClass.AUTH, "no_webhook_secret"))
    secret = secrets.webhook_secret.get_secret_value()
    await _ask(setup, "setWebhook", url=url, secret_token=secret, allowed_updates=list(KINDS))


async def unsubscribe(setup: Setup) -> None:
    """Updates wait until they are polled: Telegram keeps them for a day."""
    await _ask(setup, "deleteWebhook")


async def subscription(setup: Setup) -> Mapping[str, Any]:
    """`url` (empty: none), `pending_update_count`, and `last_error_message` where a call has failed."""
    return _mapping(await _ask(setup, "getWebhookInfo"))


async def poll(setup: Setup, cursor: str | None, *, wait_seconds: int = 0) -> tuple[list[Event], str | None]:
    """What has happened since `cursor`, and the cursor to store with it; no news may take `wait_seconds`.

    Only the next poll, with the new cursor, tells Telegram that these were received. Whoever stores both in one
    transaction loses nothing and, by `dedupe_key`, gets nothing twice. An update that nobody understands is passed.
    """
    since = {"offset": int(cursor)} if cursor else {}
    asked = {"limit": _MOST_UPDATES, "timeout": wait_seconds, "allowed_updates": list(KINDS)}
    found = await _ask(setup, "getUpdates", wait_seconds=wait_seconds, **since, **asked)
    if not isinstance(found, list):
        raise Refused(Outcome(ErrorClass.TRANSIENT, "bad_answer"))
    ids = [update_id for update in found if (update_id := id_of(update)) is not None]
    events = [event for update in found if id_of(update) is not None for event in events_of(update)]
    return events, str(max(ids) + 1) if ids else cursor


class Polled:
    """The updates of one bot. Its cursor is `<bot>:<offset>`: another bot counts from the beginning."""

    rest_seconds = 1.0

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._bot = setup.secrets.token.get_secret_value().partition(":")[0]

    async def fetch(self, cursor: str | None) -> tuple[list[Event], str | None]:
        """Waits for news. `conflict`: somebody else polls the same bot. Raises Refused."""
        bot, _, offset = (cursor or "").partition(":")
        since = offset if bot == self._bot else None
        try:
            events, new = await self._poll(since)
        except Refused as error:
            if error.outcome.code != "409":
                raise
            # Telegram calls, or answers: what was called before we were told to ask.
            if not (await subscription(self._setup)).get("url"):
                raise Refused(Outcome(ErrorClass.AUTH, "conflict")) from None
            await unsubscribe(self._setup)
            events, new = await self._poll(since)
        return events, cursor if new == since else f"{self._bot}:{new}"

    async def _poll(self, since: str | None) -> tuple[list[Event], str | None]:
        return await poll(self._setup, since, wait_seconds=_WAIT_SECONDS)


def opened(setup: Setup) -> Source | None:
    config: Config = setup.config
    return Polled(setup) if config.mode == "polling" else None


async def answer_press(setup: Setup, query: str, text: str = "") -> None:
    """Ends the waiting of a pressed button, with up to 200 characters for its person. `query`: of the event's data."""
    await _ask(setup, "answerCallbackQuery", callback_query_id=query, text=text[:200])


async def download(setup: Setup, file_id: str, *, most_bytes: int) -> bytes:
    """What somebody has sent. `too_large` for more than `most_bytes`, or than the 20 MB that Telegram gives to bots."""
    about = _mapping(await _ask(setup, "getFile", file_id=file_id))
    path, size = about.get("file_path"), about.get("file_size")
    if type(size) is int and size > most_bytes:
        raise Refused(Outcome(ErrorClass.PERMANENT, "too_large"))
    if not isinstance(path, str) or not _PATH.fullmatch(path) or ".." in path:
        raise Refused(Outcome(ErrorClass.TRANSIENT, "bad_answer"))
    config: Config = setup.config
    base = base_of(config, setup.secrets.token).removeprefix(config.base_url.rstrip("/"))
    url = f"{config.base_url.rstrip('/')}/file{base}/{path}"
    answer = await _fetch("GET", url, b"", timeout=config.timeout, most_bytes=most_bytes)
    if answer.status == 404:
        raise Refused(Outcome(ErrorClass.PERMANENT, "gone"))
    if answer.status != 200:
        raise Refused(judge(answer))
    return answer.content


async def download_item(setup: Setup, item: Mapping[str, Any], most_bytes: int) -> bytes:
    return await download(setup, str(item.get("id")), most_bytes=most_bytes)


async def _ask(setup: Setup, method: str, *, wait_seconds: int = 0, **parameters: Any) -> Any:
    """The `result`."""
    config: Config = setup.config
    url = f"{base_of(config, setup.secrets.token)}/{method}"
    content = json.dumps(parameters).encode()
    answer = await _fetch("POST", url, content, timeout=config.timeout + wait_seconds, most_bytes=_MOST_BYTES)
    outcome = judge(answer)
    if outcome.error is not None:
        raise Refused(outcome)
    return json.loads(answer.content).get("result")


async def _fetch(method: str, url: str, content: bytes, *, timeout: float, most_bytes: int) -> Answer:
    found = bytearray()
    headers = {"Content-Type": "application/json"}
    try:
        async with (
            httpx2.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=False) as http,
            http.stream(method, url, content=content, headers=headers) as response,
        ):
            async for chunk in response.aiter_bytes():
                found += chunk
                if len(found) > most_bytes:
                    raise Refused(Outcome(ErrorClass.PERMANENT, "too_large"))
    except httpx2.HTTPError as error:
        # The error has the address, and the address the token.
        raise Refused(unanswered(error)) from None
    return Answer(response.status_code, response.headers, bytes(found))


def _mapping(result: Any) -> Mapping[str, Any]:
    if not isinstance(result, dict):
        raise Refused(Outcome(ErrorClass.TRANSIENT, "bad_answer"))
    return result
