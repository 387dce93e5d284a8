"""Calls to WhatsApp's API that are no messages: how a number fares, and that somebody's message was read.

Facts: Meta's pages on business phone numbers and messaging limits (of 2026-05-21) and on typing indicators (of
2026-06-17), looked up in November 2026.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx2

from libs.tls import tls_context
from notify_service.domain.channels import ErrorClass, Outcome, Setup
from notify_service.domain.channels.http import Answer, Refused, unanswered
from notify_service.domain.channels.whatsapp import Config, headers
from notify_service.domain.channels.whatsapp_errors import parsed, refusal

_MOST_BYTES = 4 * 1024 * 1024
_LIMITS = {"TIER_50": 50, "TIER_250": 250, "TIER_2K": 2_000, "TIER_10K": 10_000, "TIER_100K": 100_000}
_UNLIMITED = "TIER_UNLIMITED"
_FIELDS = (
    "id", "display_phone_number", "verified_name", "quality_rating", "status", "throughput",
    "whatsapp_business_manager_messaging_limit",
)  # fmt: skip


class Graph:
    """The API of one account, with a connection for as long as it is entered. Everything raises Refused."""

    def __init__(self, setup: Setup) -> None:
        config: Config = setup.config
        self.http = httpx2.AsyncClient(
            headers=headers(setup.secrets),
            verify=tls_context(),
            timeout=config.timeout,
            follow_redirects=False,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        await self.http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.__aexit__(kind, error, trace)

    async def get(self, url: str, params: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        return await self.ask(self.http.build_request("GET", url, params=params))

    async def post(self, url: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return await self.ask(self.http.build_request("POST", url, json=body))

    async def ask(self, request: httpx2.Request) -> Mapping[str, Any]:
        status, found, content = await self.fetch(request, _MOST_BYTES)
        body = parsed(content)
        if not 200 <= status < 300:
            raise Refused(refusal(Answer(status, found, content), body))
        if not body:
            raise Refused(Outcome(ErrorClass.TRANSIENT, "bad_answer"))
        return body

    async def fetch(self, request: httpx2.Request, most_bytes: int) -> tuple[int, httpx2.Headers, bytes]:
        content = bytearray()
        try:
            response = await self.http.send(request, stream=True)
            try:
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > most_bytes:
                        raise Refused(Outcome(ErrorClass.PERMANENT, "too_large"))
            finally:
                await response.aclose()
        except httpx2.HTTPError as error:
            raise Refused(unanswered(error)) from error
        return response.status_code, response.headers, bytes(content)


@dataclass(frozen=True, slots=True)
class Health:
    """How a number fares."""

    number: str
    name: str
    quality: str
    """GREEN, YELLOW, RED or UNKNOWN: what people think of its messages, of late."""
    status: str
    """CONNECTED where all is well."""
    throughput: str
    """STANDARD for 80 messages a second, HIGH for 1,000."""
    recipients_per_day: int | None
    """The portfolio's messaging limit; None: unlimited, or not told."""
    unlimited: bool


async def look(setup: Setup) -> Health:
    """Asks for quality, status and limits of the number. Raises Refused."""
    config: Config = setup.config
    async with Graph(setup) as graph:
        return health(await graph.get(config.number_url, {"fields": ",".join(_FIELDS)}))


def health(body: Mapping[str, Any]) -> Health:
    limit = body.get("whatsapp_business_manager_messaging_limit")
    throughput = body.get("throughput")
    level = throughput.get("level") if isinstance(throughput, dict) else None
    return Health(
        number=_word(body.get("display_phone_number")),
        name=_word(body.get("verified_name")),
        quality=_word(body.get("quality_rating")),
        status=_word(body.get("status")),
        throughput=_word(level),
        recipients_per_day=limit_of(limit),
        unlimited=limit in (_UNLIMITED, -1),
    )


def limit_of(given: object) -> int | None:
    """People a day, of a tier's name or of a number."""
    if isinstance(given, int) and not isinstance(given, bool):
        return given if given > 0 else None
    return _LIMITS.get(given) if isinstance(given, str) else None


async def mark_read(setup: Setup, message_id: str, *, typing: bool = False) -> None:
    """Shows their author that a message, and all before it, was read. Raises Refused.

    `typing` shows for up to 25 seconds that an answer is being written.
    """
    config: Config = setup.config
    body: dict[str, Any] = {"messaging_product": "whatsapp", "status": "read", "message_id": message_id}
    if typing:
        body["typing_indicator"] = {"type": "text"}
    async with Graph(setup) as graph:
        await graph.post(f"{config.number_url}/messages", body)


def _word(given: object) -> str:
    return given if isinstance(given, str) else "UNKNOWN"
