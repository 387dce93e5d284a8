"""Messages to a customer's own program: signed, with an id to tell repetitions by (Standard Webhooks 1.0.0).

An account is one endpoint, so an endpoint that is down, slow or gone stops nobody but itself. Whoever receives a
`webhook-id` twice does nothing the second time, so what got no answer is sent again. It gets what is sent to it, and of
what happens the `events` that it names.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from secrets import token_bytes
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from libs.clock import rfc3339
from libs.outside import NotAllowed, require_allowed
from notify_service.domain.channels import (
    CannotRender,
    Capability,
    ErrorClass,
    Line,
    Message,
    Outcome,
    Provider,
    Setup,
)
from notify_service.domain.channels.guarded import guarded
from notify_service.domain.channels.http import Answer, Call, Seat, seconds_of
from notify_service.domain.channels.webhook_events import EVENT, CategoryName, Pattern, body_of
from notify_service.domain.content import Content

ADDRESS = "default"
_PREFIX = "whsec_"
_SECRET_BYTES = range(24, 65)
_MADE_BYTES = 32
_TYPE = "type"
_DEFAULT_TYPE = "notification"
_ID_AND_TIMESTAMP = 0xFFFF_FFFF_FFFF
CAPABILITY = Capability(
    channel="webhook",
    provider="webhook",
    lines=4,
    address="url",
    subject_max=255,
    markup="html",
    idempotency="native",
    errors={"410": ErrorClass.AUTH, "429": ErrorClass.THROTTLE},
)


def _key_of(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not text.startswith(_PREFIX) or len(key) not in _SECRET_BYTES:
        raise ValueError("A secret is whsec_ and 24 to 64 bytes in base64.")
    return secret


Secret = Annotated[SecretStr, AfterValidator(_key_of)]


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, StringConstraints(pattern=r"^https?://[!-~]+$", max_length=2000)]
    """Where messages are posted: https, and nowhere inside, unless the operator has allowed that."""
    lines: Annotated[int, Field(ge=1, le=100)] = 4
    timeout: Annotated[float, Field(gt=0, le=60)] = 15.0
    """Seconds until an answer."""
    events: Annotated[tuple[Pattern, ...], Field(max_length=50)] = ()
    """What it hears of. None: only what is sent to it."""
    categories: Annotated[tuple[CategoryName, ...], Field(max_length=50)] = ()
    """Of events that have a category only those of these; none: of all."""


class Secrets(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    secret: Secret
    previous_secret: Secret | None = None
    """While secrets change: messages are signed with both."""


class Webhook:
    """The channel of one endpoint."""

    fills = False

    def __init__(self, config: Config, secrets: Secrets, *, private_networks: bool) -> None:
        """Raises ValueError for an address that nothing may be sent to."""
        try:
            require_allowed(config.url, private_networks=private_networks)
        except NotAllowed:
            raise ValueError("Messages go to https addresses of the internet alone.") from None
        self._config = config
        self._keys = [key(each) for each in (secrets.secret, secrets.previous_secret) if each is not None]
        self._private_networks = private_networks
        self.capability = replace(CAPABILITY, lines=config.lines)

    def render(self, message: Message) -> list[Call]:
        body = _body(message)
        return [Call(self._config.url, body, signed(str(message.id), message.at, body, self._keys))]

    def line(self) -> Line:
        headers = {"Content-Type": "application/json"}
        transport = guarded(private_networks=self._private_networks)
        return _Repeating(judge, headers=headers, timeout=self._config.timeout, transport=transport)


class _Repeating(Seat):
    """What got no answer may have been taken, and is sent again all the same: its id is known there."""

    async def send(self, address: str, payload: Sequence[Call]) -> Outcome:
        outcome = await super().send(address, payload)
        return replace(outcome, error=ErrorClass.TRANSIENT) if outcome.error is ErrorClass.AMBIGUOUS else outcome


def key(secret: SecretStr) -> bytes:
    return base64.b64decode(secret.get_secret_value().removeprefix(_PREFIX))


def signed(number: str, at: datetime, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """The headers of a message; one signature for each key, the newest first."""
    stamp = str(int(at.timestamp()))
    content = f"{number}.{stamp}.".encode() + body
    signatures = (base64.b64encode(hmac.new(each, content, hashlib.sha256).digest()).decode() for each in keys)
    return {
        "webhook-id": number,
        "webhook-timestamp": stamp,
        "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
    }


def _accepted_at(message: Message) -> datetime:
    """When the message was accepted, which its id says: the body is the same at every attempt."""
    number: UUID = message.id
    if number.version != 7:
        return message.at
    return datetime.fromtimestamp((number.int >> 80 & _ID_AND_TIMESTAMP) / 1000, UTC)


def _body(message: Message) -> bytes:
    """`{"type", "timestamp", "data"}`: of what happened, or of a content."""
    if message.template == EVENT:
        said = body_of(dict(message.variables))
    elif message.content is not None:
        said = _said(message.content, _accepted_at(message))
    else:
        raise CannotRender("no_content")
    return json.dumps(said, ensure_ascii=False).encode()


def _said(content: Content, at: datetime) -> dict[str, Any]:
    """`type` is what the content's own `data` calls so, and `data` the rest of the content."""
    said: dict[str, Any] = content.model_dump(exclude_none=True, exclude_defaults=True)
    values: Mapping[str, str] = content.data
    kind = values.get(_TYPE, _DEFAULT_TYPE)
    rest = {name: value for name, value in values.items() if name != _TYPE}
    said = {**said, "data": rest} if rest else {name: value for name, value in said.items() if name != "data"}
    return {"type": kind, "timestamp": rfc3339(at), "data": said}


def judge(answer: Answer) -> Outcome:
    """What an endpoint's answer means: taken, gone for good, or later. Its body means nothing, and redirects are not
    followed."""
    code = str(answer.status)
    if 200 <= answer.status < 300:
        return Outcome()
    if answer.status == 410:
        return Outcome(ErrorClass.AUTH, code)
    pause = seconds_of(answer.headers.get("retry-after", ""))
    if answer.status in (429, 503) and pause is not None:
        return Outcome(ErrorClass.THROTTLE, code, pause_seconds=pause)
    return Outcome(ErrorClass.TRANSIENT, code)


def check_address(text: str) -> str:
    if text != ADDRESS:
        raise ValueError("An endpoint is its account's: its address is `default`.")
    return text


def complete(config: dict[str, Any], secrets: dict[str, Any]) -> None:
    """Makes the secret, if none is given."""
    del config
    if secrets.get("secret") is None:
        secrets["secret"] = _PREFIX + base64.b64encode(token_bytes(_MADE_BYTES)).decode()


def _open(setup: Setup) -> Webhook:
    return Webhook(setup.config, setup.secrets, private_networks=setup.private_networks)


PROVIDER = Provider(
    capability=CAPABILITY,
    config=Config,
    secrets=Secrets,
    open=_open,
    check_address=check_address,
    complete=complete,
    shared=frozenset({"secret"}),
)
