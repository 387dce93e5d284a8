"""What channels over HTTP share: one connection a line, and what no answer means."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import httpx2

from libs.outside import NotAllowed
from libs.tls import tls_context
from notify_service.domain.channels import ErrorClass, Outcome

_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
_CUT_SHORT = (httpx2.WriteError, httpx2.WriteTimeout)
_LATER = frozenset({408, 425})
_ACCOUNT = frozenset({401, 403})
_LONGEST_PAUSE = 3600.0
_LONGEST_WAIT, _MOST_WAITS = 60.0, 5
# An answer says whether the message was taken; nobody needs a megabyte for that.
_MOST_BYTES = 256 * 1024
# Many servers close a connection that has rested for five seconds. A message written at that moment would be in doubt.
KEPT = httpx2.Limits(keepalive_expiry=4.0)


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `url` is a whole one, or a path below the account's."""

    url: str
    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """By name in small letters."""
    content: bytes


Judge = Callable[[Answer], Outcome]
Transport = Callable[[], httpx2.AsyncBaseTransport]


class Refused(Exception):
    """A call that is no message did not succeed; `outcome` says why, as it would for a message."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.code)
        self.outcome = outcome


class Seat:
    """One message at a time, over a connection that is kept while there is work.

    A message may take several calls, as a text that is split does. The first one's id stands for all. Where a later one
    fails the message is neither sent nor unsent: `partly_sent`, and nobody sends the beginning twice.

    A call takes at most `timeout` seconds in all, however slowly its answer drips.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        base_url: str = "",
        headers: Mapping[str, str],
        timeout: float,
        transport: Transport | None = None,
    ) -> None:
        self._judge = judge
        self._base_url = base_url.rstrip("/")
        # Packed bodies could unpack to any size.
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "Parley", **headers}
        self._timeout = timeout
        self._transport = transport
        self._client: httpx2.AsyncClient | None = None

    async def open(self) -> None:
        """Whether the provider can be reached shows at the first message."""
        if self._client is None:
            self._client = httpx2.AsyncClient(
                headers=self._headers,
                verify=tls_context(),
                # A connection that is not there by half-time never was: the message did not go out.
                timeout=httpx2.Timeout(self._timeout, connect=self._timeout / 2),
                limits=KEPT,
                transport=self._transport() if self._transport else None,
                follow_redirects=False,
                trust_env=False,
            )

    async def send(self, address: str, payload: Sequence[Call]) -> Outcome:
        del address
        first: Outcome | None = None
        for call in payload:
            outcome = await self.ask(call)
            if outcome.error is not None:
                return outcome if first is None else Outcome(ErrorClass.AMBIGUOUS, "partly_sent", first.provider_id)
            first = first or outcome
        return first or Outcome(ErrorClass.PERMANENT, "empty")

    async def ask(self, call: Call) -> Outcome:
        await self.open()
        assert self._client is not None  # noqa: S101  -- opened above
        url = call.url if "://" in call.url else self._base_url + call.url
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._client.stream(call.method, url, content=call.content, headers=call.headers) as response,
            ):
                content = await _body(response)
        except httpx2.HTTPError as error:
            return unanswered(error)
        except TimeoutError:
            return Outcome(ErrorClass.AMBIGUOUS, "no_answer")
        except (NotAllowed, httpx2.InvalidURL):
            return Outcome(ErrorClass.PERMANENT, "address_not_allowed")
        return self._judge(Answer(response.status_code, response.headers, content))

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


class Patient(Seat):
    """A seat that, between the parts of one message, waits for as long as the provider asks.

    The beginning has arrived, and a reader would rather wait for the rest than never get it. What the provider said
    last of its limit is what counts for the message after.
    """

    _last = Outcome()
    _begun = False

    async def send(self, address: str, payload: Sequence[Call]) -> Outcome:
        self._begun, self._last = False, Outcome()
        outcome = await super().send(address, payload)
        return replace(outcome, left=self._last.left, reset_seconds=self._last.reset_seconds)

    async def ask(self, call: Call) -> Outcome:
        if self._begun and self._last.left == 0:
            await asyncio.sleep(min(self._last.reset_seconds or 0.0, _LONGEST_WAIT))
        self._last = await self.offer(call)
        for _ in range(_MOST_WAITS if self._begun else 0):
            if self._last.error is not ErrorClass.THROTTLE:
                break
            await asyncio.sleep(min(self._last.pause_seconds or 1.0, _LONGEST_WAIT))
            self._last = await self.offer(call)
        self._begun = self._begun or self._last.error is None
        return self._last

    async def offer(self, call: Call) -> Outcome:
        """One try of one part."""
        return await super().ask(call)


async def _body(response: httpx2.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > _MOST_BYTES:
            break
    return bytes(content[:_MOST_BYTES])


def unanswered(error: httpx2.HTTPError) -> Outcome:
    """What no answer means: nothing went out, not all of it, or perhaps everything."""
    if isinstance(error, _UNSENT):
        return Outcome(ErrorClass.UNREACHABLE, "no_connection")
    if isinstance(error, _CUT_SHORT):
        return Outcome(ErrorClass.TRANSIENT, "connection_lost")
    return Outcome(ErrorClass.AMBIGUOUS, "no_answer")


def by_status(answer: Answer) -> Outcome:
    """What an answer's status says where its provider says nothing better: the class, and how long to stay away."""
    status = answer.status
    if 200 <= status < 300:
        return Outcome()
    pause = seconds_of(answer.headers.get("retry-after", ""))
    if status == 429 and pause is not None:
        return Outcome(ErrorClass.THROTTLE, str(status), pause_seconds=pause)
    if status == 429 or status >= 500 or status in _LATER:
        return Outcome(ErrorClass.TRANSIENT, str(status))
    if status in _ACCOUNT or status < 400:
        # A redirect as well: our settings name the wrong address, and no message is to blame.
        return Outcome(ErrorClass.AUTH, str(status))
    return Outcome(ErrorClass.PERMANENT, str(status))


def by_status_once(answer: Answer) -> Outcome:
    """The same for providers that do not know our ids: what failed on their side may have happened all the same."""
    outcome = by_status(answer)
    return replace(outcome, error=ErrorClass.AMBIGUOUS) if answer.status >= 500 else outcome


def seconds_of(text: str) -> float | None:
    """A pause that a header asks for, in seconds; None for what is no plain number."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return min(seconds, _LONGEST_PAUSE) if seconds >= 0 else None
