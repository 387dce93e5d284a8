"""Notifications in browsers: web push (RFC 8030), encrypted for each and vouched for by the account's own key.

An address is a subscription, as JSON, which a browser has made and may have made up. So nothing that is said to one
subscription stops the others: a push service that refuses our key may do so because this subscription was made for
another one. Statuses from RFC 8030 and the services' own documentation, as of November 2026.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import httpx2
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError

from libs.outside import NotAllowed, require_allowed
from notify_service.domain.channels import (
    CannotRender,
    Capability,
    Effect,
    ErrorClass,
    Line,
    Media,
    Message,
    Outcome,
    Problem,
    Provider,
    Setup,
)
from notify_service.domain.channels.guarded import guarded
from notify_service.domain.channels.http import Answer, Call, Seat, by_status_once, seconds_of
from notify_service.domain.channels.webpush_encryption import MOST_BYTES, Vouchers, encrypt, new_key, read, read_point
from notify_service.domain.content import Content

_HERE = ("127.0.0.1", "[::1]", "localhost")
_AUTH_BYTES = 16
_NO_SUBSCRIPTION = "A subscription is what a browser gives: an https endpoint, with keys p256dh and auth, as JSON."
CAPABILITY = Capability(
    channel="webpush",
    provider="webpush",
    lines=16,
    address="subscription",
    text_max=1000,
    overflow="truncate",
    subject_max=200,
    media={"image": Media(max_bytes=1 << 20)},
    buttons=2,
    button_title_max=40,
    errors={
        **dict.fromkeys(("400", "401", "403", "404", "410", "413"), ErrorClass.PERMANENT),
        **dict.fromkeys(("429", "503"), ErrorClass.RECIPIENT),
        **dict.fromkeys(("500", "502", "504"), ErrorClass.AMBIGUOUS),
    },
)

Key = Annotated[str, StringConstraints(max_length=200)]
Host = Annotated[str, StringConstraints(pattern=r"^(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*$", max_length=253)]


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    public_key: Key
    """`applicationServerKey` of those who subscribe. Made with the account, if none is given."""
    subject: Annotated[str, Field(pattern=r"^(mailto:[^@\s]+@[^@\s]+|https://\S+)$", max_length=320)]
    """Whom a push service can turn to."""
    services: Annotated[list[Host], Field(min_length=1, max_length=50)] = [
        "fcm.googleapis.com",
        "updates.push.services.mozilla.com",
        "*.push.apple.com",
        "*.notify.windows.com",
    ]
    """Hosts of push services; nothing is sent elsewhere, whatever a subscription says."""
    ttl_seconds: Annotated[int, Field(ge=0, le=2_419_200)] = 86_400
    """How long a push service keeps what cannot be shown at once."""
    urgency: Literal["very-low", "low", "normal", "high"] = "normal"
    topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")] | None = None
    """With one, the newest message takes the place of those that wait."""
    lines: Annotated[int, Field(ge=1, le=100)] = 16
    timeout: Annotated[float, Field(gt=0, le=120)] = 15.0
    """Seconds until an answer."""


class Secrets(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    private_key: SecretStr


class Keys(BaseModel):
    p256dh: Key
    auth: Key


class Subscription(BaseModel):
    endpoint: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]+$", max_length=1024)]
    keys: Keys


class WebPush:
    """The channel of one account."""

    fills = False

    def __init__(self, config: Config, secrets: Secrets, *, private_networks: bool) -> None:
        """Raises ValueError for keys that do not belong together."""
        self._config = config
        self._private_networks = private_networks
        self._vouchers = Vouchers(secrets.private_key.get_secret_value(), config.subject)
        if self._vouchers.public_key != config.public_key.rstrip("="):
            raise ValueError("The public key is not that of the private key.")
        self.capability = replace(CAPABILITY, lines=config.lines)

    def render(self, message: Message) -> list[Call]:
        config = self._config
        subscription = _admitted(config, message.address, private_networks=self._private_networks)
        if message.content is None:
            raise CannotRender("no_content")
        plain = _payload(message.content, str(message.id))
        if len(plain) > MOST_BYTES:
            raise CannotRender("too_long")
        parts = urlsplit(subscription.endpoint)
        headers = {
            "Authorization": self._vouchers.header(f"{parts.scheme}://{parts.netloc}", message.at),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(config.ttl_seconds),
            "Urgency": config.urgency,
        }
        topic = message.content.collapse or config.topic
        if topic is not None:
            headers["Topic"] = topic
        body = encrypt(plain, read_point(subscription.keys.p256dh), read(subscription.keys.auth))
        return [Call(subscription.endpoint, body, headers)]

    def line(self) -> Line:
        transport = guarded(private_networks=self._private_networks)
        return Seat(judge, headers={}, timeout=self._config.timeout, transport=transport)


def _admitted(config: Config, address: str, *, private_networks: bool) -> Subscription:
    """Raises CannotRender for what is no push service, or none of this account's."""
    try:
        found = _read(address)
        require_allowed(found.endpoint, private_networks=private_networks)
    except (ValueError, NotAllowed):
        raise CannotRender("bad_address") from None
    host = httpx2.URL(found.endpoint).host
    if not any(_within(host, each) for each in config.services):
        raise CannotRender("unknown_service")
    return found


def _within(host: str, pattern: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def check_address(text: str) -> str:
    found = _read(text)
    parts = urlsplit(found.endpoint)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.netloc.partition(":")[0] in _HERE):
        raise ValueError(_NO_SUBSCRIPTION)
    return json.dumps(found.model_dump(), separators=(",", ":"), sort_keys=True)


def _read(text: str) -> Subscription:
    """Raises ValueError."""
    try:
        found = Subscription.model_validate_json(text)
        read_point(found.keys.p256dh)
        valid = len(read(found.keys.auth)) == _AUTH_BYTES and bool(urlsplit(found.endpoint).hostname)
    except (ValidationError, ValueError):
        valid = False
    if not valid:
        raise ValueError(_NO_SUBSCRIPTION) from None
    return found


def check_content(content: Content) -> Sequence[Problem]:
    """Whether it fits into one record, as it is written."""
    length = len(_payload(content, "0" * 36))
    return [Problem("content", f"At most {MOST_BYTES} bytes for webpush, not {length}.")] if length > MOST_BYTES else []


def _payload(content: Content, number: str) -> bytes:
    """What the service worker gets."""
    said: dict[str, Any] = {
        "id": number,
        "title": content.subject,
        "body": content.text,
        "url": content.url,
        "image": content.media.url if content.media else None,
        "actions": [each.model_dump(exclude_none=True) for each in content.buttons],
        "data": content.data,
        "tag": content.collapse,
    }
    return json.dumps({name: value for name, value in said.items() if value}, ensure_ascii=False).encode()


def judge(answer: Answer) -> Outcome:
    """What a push service's answer means, for this subscription alone."""
    outcome = by_status_once(answer)
    code = str(answer.status)
    if outcome.error is None:
        name = answer.headers.get("location", "").rpartition("/")[2][:100]
        return Outcome(provider_id=name if name.isprintable() and name else None)
    if answer.status in (404, 410):
        return Outcome(ErrorClass.PERMANENT, code, effect=Effect.SUPPRESS)
    if answer.status in (429, 503):
        # Too busy to have taken it.
        return Outcome(ErrorClass.RECIPIENT, code, pause_seconds=seconds_of(answer.headers.get("retry-after", "")))
    if outcome.error is ErrorClass.AUTH:
        return Outcome(ErrorClass.PERMANENT, code)
    return outcome


def complete(config: dict[str, Any], secrets: dict[str, Any]) -> None:
    """Makes the account's keys; of a private key that is given, the public one."""
    given = secrets.setdefault("private_key", new_key())
    if "public_key" not in config and isinstance(given, str):
        try:
            config["public_key"] = Vouchers(given, "").public_key
        except ValueError:
            # Refused when the account is set up, with what it then lacks.
            return


def _open(setup: Setup) -> WebPush:
    return WebPush(setup.config, setup.secrets, private_networks=setup.private_networks)


def _admits(setup: Setup, address: str) -> None:
    _admitted(setup.config, address, private_networks=setup.private_networks)


PROVIDER = Provider(
    capability=CAPABILITY,
    config=Config,
    secrets=Secrets,
    open=_open,
    check_address=check_address,
    admits=_admits,
    check_content=check_content,
    complete=complete,
)
