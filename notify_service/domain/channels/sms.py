"""Text messages, through a provider that takes them one by one over HTTP: `{"id", "to", "from", "text"}` with a bearer
token, answered by `{"id"}`. The id is the delivery's, so a provider that heard of it sends nothing twice."""

import json
import re
from dataclasses import dataclass, field

import httpx2

from notify_service.domain import templates
from notify_service.domain.channels import (
    NO_CHANNEL,
    CannotRender,
    Capability,
    ErrorClass,
    Line,
    Message,
    Outcome,
)

_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_LONGEST_PAUSE = 3600.0
_LATER = frozenset({408, 425})
_ACCOUNT = frozenset({401, 403})
_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
_CUT_SHORT = (httpx2.WriteError, httpx2.WriteTimeout)


@dataclass(frozen=True, slots=True)
class Account:
    """Where messages are handed over, and as whom."""

    url: str
    token: str | None = field(repr=False)
    sender: str
    connections: int = 4
    timeout: float = 15.0


class Sms:
    """The channel of one account."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.capability = Capability(channel="sms", provider="http", lines=account.connections)

    def render(self, message: Message) -> bytes:
        if not _NUMBER.fullmatch(message.address):
            raise CannotRender("bad_address")
        text = templates.render_text(message.template, message.variables, message.secret)
        order = {"id": str(message.id), "to": message.address, "from": self._account.sender, "text": text}
        return json.dumps(order).encode()

    def line(self) -> Line:
        return Seat(self._account)


class Seat:
    """One message at a time, over a connection that is kept while there is work."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._client: httpx2.AsyncClient | None = None

    async def open(self) -> None:
        """Whether the provider can be reached shows at the first message."""
        if self._client is None:
            headers = {"Content-Type": "application/json"}
            if self._account.token is not None:
                headers["Authorization"] = f"Bearer {self._account.token}"
            self._client = httpx2.AsyncClient(
                headers=headers, timeout=self._account.timeout, follow_redirects=False, trust_env=False
            )

    async def send(self, address: str, payload: bytes) -> Outcome:
        del address
        await self.open()
        assert self._client is not None  # noqa: S101  -- opened above
        try:
            answer = await self._client.post(self._account.url, content=payload)
        except httpx2.HTTPError as error:
            return classify(error)
        return judge(answer)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


class Nowhere:
    """The channel where no provider is configured: every message fails at once, and its row says why."""

    capability = Capability(channel="sms", provider="none", lines=1)

    def render(self, message: Message) -> bytes:
        del message
        return b""

    def line(self) -> Line:
        return _Dead()


class _Dead:
    async def open(self) -> None: ...

    async def send(self, address: str, payload: bytes) -> Outcome:
        del address, payload
        return Outcome(ErrorClass.PERMANENT, NO_CHANNEL)

    async def close(self) -> None: ...


def judge(answer: httpx2.Response) -> Outcome:
    """What an answer means."""
    status = answer.status_code
    if answer.is_success:
        return Outcome(provider_id=_id_of(answer))
    pause = _pause(answer.headers.get("retry-after", ""))
    if status == 429 and pause is not None:
        return Outcome(ErrorClass.THROTTLE, str(status), pause_seconds=pause)
    if status == 429 or status >= 500 or status in _LATER:
        return Outcome(ErrorClass.TRANSIENT, str(status))
    if status in _ACCOUNT or status < 400:
        # A redirect as well: our settings name the wrong address, and no message is to blame.
        return Outcome(ErrorClass.AUTH, str(status))
    return Outcome(ErrorClass.PERMANENT, str(status))


def classify(error: httpx2.HTTPError) -> Outcome:
    """What no answer means: nothing went out, not all of it, or perhaps everything."""
    if isinstance(error, _UNSENT):
        return Outcome(ErrorClass.UNREACHABLE, "no_connection")
    if isinstance(error, _CUT_SHORT):
        return Outcome(ErrorClass.TRANSIENT, "connection_lost")
    return Outcome(ErrorClass.AMBIGUOUS, "no_answer")


def _id_of(answer: httpx2.Response) -> str | None:
    try:
        body = answer.json()
    except ValueError:
        return None
    given = body.get("id") if isinstance(body, dict) else None
    return given[:100] if isinstance(given, str) and given.isprintable() else None


def _pause(seconds: str) -> float | None:
    return min(float(seconds), _LONGEST_PAUSE) if seconds.isascii() and seconds.isdigit() else None
