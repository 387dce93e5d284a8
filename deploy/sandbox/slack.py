"""An incoming webhook of Slack: it takes messages for one channel, and refuses what Slack refuses.

Facts: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks, /reference/block-kit and
/apis/web-api/rate-limits, and the changelog of 2016-05-17 for the words of refusals; read 2026-11.
"""

import hmac
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from math import ceil
from typing import Any

from deploy.sandbox.boards import Board
from deploy.sandbox.clocks import MovableClock
from deploy.sandbox.effects import Effects
from deploy.sandbox.faults import Faults
from libs.clock import Clock

PROVIDER = "slack"
STATUSES = {
    "action_prohibited": 403, "invalid_token": 403, "posting_to_general_channel_denied": 403,
    "channel_not_found": 404, "no_service": 404, "no_team": 404, "channel_is_archived": 410,
}  # fmt: skip
_BURST, _WITHIN = 5, 5.0


class Refused(Exception):
    """In Slack's words, and with the seconds of `Retry-After` where it has them."""

    def __init__(self, status: int, word: str, pause: int | None = None) -> None:
        super().__init__(word)
        self.status = status
        self.word = word
        self.pause = pause


class Slack:
    """One webhook, named `team/service/token`."""

    def __init__(self, webhook: str, effects: Effects, clock: Clock) -> None:
        self.clock = MovableClock(clock)
        self.faults = Faults()
        self.board = Board(PROVIDER, effects, clock)
        self.refusal: str | None = None
        """One of `STATUSES`: what has happened to the channel or the app."""
        self._webhook = webhook
        self._sent: deque[float] = deque()

    def admit(self, webhook: str) -> None:
        """Raises Refused."""
        here, _, token = self._webhook.rpartition("/")
        given, _, shown = webhook.rpartition("/")
        if given != here:
            raise Refused(404, "no_service")
        if not hmac.compare_digest(shown.encode(), token.encode()):
            raise Refused(403, "invalid_token")
        if self.refusal is not None:
            raise Refused(STATUSES[self.refusal], self.refusal)

    def post(self, body: Any) -> None:
        """Raises Refused."""
        if not isinstance(body, dict):
            raise Refused(400, "invalid_payload")
        blocks = body.get("blocks", [])
        if not (body.get("text") or blocks):
            raise Refused(400, "no_text")
        if not isinstance(blocks, list) or len(blocks) > 50 or not all(map(_stands, blocks)):
            raise Refused(400, "invalid_blocks")
        self._count()
        words = "\n".join(_words(blocks)) if blocks else str(body["text"])
        self.board.add(words, list(_links(blocks)), {"text": body.get("text", ""), "blocks": blocks})

    def _count(self) -> None:
        """One a second; a few may come at once."""
        now = self.clock.seconds()
        while self._sent and self._sent[0] <= now - _WITHIN:
            self._sent.popleft()
        if len(self._sent) >= _BURST:
            raise Refused(429, "rate_limited", max(1, ceil(self._sent[0] + _WITHIN - now)))
        self._sent.append(now)


def _text(given: Any, most: int, *kinds: str) -> bool:
    if not isinstance(given, dict) or given.get("type") not in kinds:
        return False
    text = given.get("text")
    return isinstance(text, str) and 1 <= len(text) <= most


def _address(given: Any) -> bool:
    return isinstance(given, str) and given.startswith(("https://", "http://")) and len(given) <= 3000


def _section(block: Mapping[str, Any]) -> bool:
    return _text(block.get("text"), 3000, "plain_text", "mrkdwn")


def _header(block: Mapping[str, Any]) -> bool:
    return _text(block.get("text"), 150, "plain_text")


def _image(block: Mapping[str, Any]) -> bool:
    described = isinstance(block.get("alt_text"), str) and 1 <= len(block["alt_text"]) <= 2000
    titled = "title" not in block or _text(block["title"], 2000, "plain_text")
    return _address(block.get("image_url")) and described and titled


def _actions(block: Mapping[str, Any]) -> bool:
    elements = block.get("elements")
    return isinstance(elements, list) and 1 <= len(elements) <= 25 and all(map(_button, elements))


def _button(element: Any) -> bool:
    if not isinstance(element, dict) or element.get("type") != "button":
        return False
    return _text(element.get("text"), 75, "plain_text") and ("url" not in element or _address(element["url"]))


def _rich_text(block: Mapping[str, Any]) -> bool:
    elements = block.get("elements")
    return isinstance(elements, list) and bool(elements) and all(map(_rich_part, elements))


def _rich_part(part: Any) -> bool:
    kinds = ("rich_text_section", "rich_text_quote", "rich_text_preformatted")
    if not isinstance(part, dict) or part.get("type") not in kinds or not isinstance(part.get("elements"), list):
        return False
    return bool(part["elements"]) and all(map(_rich_element, part["elements"]))


def _rich_element(element: Any) -> bool:
    style = element.get("style", {}) if isinstance(element, dict) else None
    if not isinstance(style, dict) or not set(style) <= {"bold", "italic", "strike", "code"}:
        return False
    if element.get("type") == "link":
        return _address(element.get("url"))
    return element.get("type") == "text" and isinstance(element.get("text"), str) and bool(element["text"])


_BLOCKS: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "section": _section,
    "header": _header,
    "image": _image,
    "actions": _actions,
    "rich_text": _rich_text,
    "divider": lambda _: True,
}


def _stands(block: Any) -> bool:
    check = _BLOCKS.get(str(block.get("type"))) if isinstance(block, dict) else None
    return check is not None and check(block)


def _words(blocks: list[Any]) -> Iterator[str]:
    """What a reader sees, a line a block."""
    for block in blocks:
        if block["type"] in ("section", "header"):
            yield _unescaped(block["text"]["text"])
        elif block["type"] == "image":
            yield f"[{block['alt_text']}: {block['image_url']}]"
        elif block["type"] == "rich_text":
            parts = (
                element.get("text", element.get("url")) for part in block["elements"] for element in part["elements"]
            )
            yield "".join(parts)


def _links(blocks: list[Any]) -> Iterator[tuple[str, str]]:
    buttons = [each for block in blocks if block["type"] == "actions" for each in block["elements"]]
    yield from ((_unescaped(each["text"]["text"]), each["url"]) for each in buttons if "url" in each)


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
