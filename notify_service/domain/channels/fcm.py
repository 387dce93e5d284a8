"""Notifications on phones, through Firebase Cloud Messaging (HTTP v1).

FCM knows no ids of ours. Shapes, codes and the quota of 600,000 messages a minute and project from
firebase.google.com/docs/cloud-messaging (HTTP v1 reference, error codes, throttling), as of November 2026. A device is
whatever its owner's program says it is, so nothing that is said to one of them stops the others.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl, SecretStr

from notify_service.domain.channels import (
    CannotOpen,
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
    Rate,
    Setup,
)
from notify_service.domain.channels.fcm_tokens import ServiceAccount, Tokens
from notify_service.domain.channels.http import Answer, Call, Seat, by_status_once, seconds_of
from notify_service.domain.content import Content

MOST_BYTES = 4096
_DEVICE = re.compile(r"[A-Za-z0-9_:.-]{20,1024}")
_RESERVED = re.compile(r"from|message_type|gcm.*|google.*")
_QUOTA_PAUSE = 60.0
# Written by us beside what the content has.
_OURS = frozenset({"id", "url"})

ERRORS: Mapping[str, ErrorClass] = {
    "UNREGISTERED": ErrorClass.PERMANENT,
    "SENDER_ID_MISMATCH": ErrorClass.PERMANENT,
    "INVALID_ARGUMENT": ErrorClass.PERMANENT,
    "QUOTA_EXCEEDED": ErrorClass.THROTTLE,
    "RESOURCE_EXHAUSTED": ErrorClass.THROTTLE,
    "UNAVAILABLE": ErrorClass.TRANSIENT,
    # Apple's or the browser's key at Firebase is not right: of all devices of that kind, and of no others.
    "THIRD_PARTY_AUTH_ERROR": ErrorClass.TRANSIENT,
    "INTERNAL": ErrorClass.AMBIGUOUS,
    "UNAUTHENTICATED": ErrorClass.AUTH,
    "PERMISSION_DENIED": ErrorClass.AUTH,
    "NOT_FOUND": ErrorClass.AUTH,  # no such project
}
EFFECTS: Mapping[str, Effect] = dict.fromkeys(("UNREGISTERED", "SENDER_ID_MISMATCH"), Effect.SUPPRESS)
CAPABILITY = Capability(
    channel="push",
    provider="fcm",
    lines=16,
    address="device",
    text_max=1000,
    overflow="truncate",
    subject_max=200,
    media={"image": Media(max_bytes=1 << 20, types=("image/jpeg", "image/png", "image/webp"))},
    rates=(Rate("account", 600_000, 60.0, burst=1_000),),
    errors=ERRORS,
)


def _readable(text: SecretStr) -> SecretStr:
    ServiceAccount.read(text.get_secret_value())
    return text


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    priority: Literal["high", "normal"] = "high"
    """`high` wakes a phone that sleeps."""
    ttl_seconds: Annotated[int, Field(ge=0, le=2_419_200)] = 86_400
    """How long a message waits for a phone that is off."""
    collapse_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None
    """With one, the newest message takes the place of those that wait."""
    base_url: HttpUrl = HttpUrl("https://fcm.googleapis.com")
    lines: Annotated[int, Field(ge=1, le=200)] = 16
    timeout: Annotated[float, Field(gt=0, le=120)] = 15.0
    """Seconds until an answer."""


class Secrets(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    service_account: Annotated[SecretStr, AfterValidator(_readable)]
    """The file of a service account, as it was downloaded."""


class Fcm:
    """The channel of one project."""

    fills = False

    def __init__(self, config: Config, secrets: Secrets) -> None:
        self._config = config
        account = ServiceAccount.read(secrets.service_account.get_secret_value())
        self._path = f"/v1/projects/{account.project_id}/messages:send"
        self._tokens = Tokens(account, timeout=config.timeout)
        self.capability = replace(CAPABILITY, lines=config.lines)

    def render(self, message: Message) -> list[Call]:
        if not _DEVICE.fullmatch(message.address):
            raise CannotRender("bad_address")
        if message.content is None:
            raise CannotRender("no_content")
        said = _said(message.content, str(message.id))
        if _size(said) > MOST_BYTES:
            raise CannotRender("too_long")
        expires = int(message.at.timestamp()) + self._config.ttl_seconds
        order = {"token": message.address, **said, **self._platforms(message.content, expires)}
        return [Call(self._path, json.dumps({"message": order}, ensure_ascii=False).encode())]

    def line(self) -> Line:
        headers = {"Content-Type": "application/json"}
        seat = Seat(judge, base_url=str(self._config.base_url), headers=headers, timeout=self._config.timeout)
        return _Signed(seat, self._tokens)

    def _platforms(self, content: Content, expires: int) -> dict[str, Any]:
        """The same wishes in the words of each kind of device."""
        config, urgent = self._config, self._config.priority == "high"
        android: dict[str, Any] = {"priority": config.priority.upper(), "ttl": f"{config.ttl_seconds}s"}
        apple = {"apns-priority": "10" if urgent else "5", "apns-expiration": str(expires)}
        browser = {"TTL": str(config.ttl_seconds), "Urgency": config.priority}
        key = content.collapse or config.collapse_key
        if key is not None:
            android["collapse_key"] = apple["apns-collapse-id"] = key
            browser["Topic"] = key[:32].replace(".", "_")
        if content.collapse is not None:
            # What a phone shows already gives way to this alone.
            android["notification"] = {"tag": content.collapse}
        found: dict[str, Any] = {"android": android, "apns": {"headers": apple}, "webpush": {"headers": browser}}
        if content.media is not None:
            found["apns"]["payload"] = {"aps": {"mutable-content": 1}}
            found["apns"]["fcm_options"] = {"image": content.media.url}
        if content.url is not None and content.url.startswith("https://"):
            found["webpush"]["fcm_options"] = {"link": content.url}
        return found


class _Signed:
    """A line with the project's access token. One that is refused is exchanged, and the message offered again: nothing
    was done with it."""

    def __init__(self, seat: Seat, tokens: Tokens) -> None:
        self._seat = seat
        self._tokens = tokens

    async def open(self) -> None:
        await self._tokens.current()
        await self._seat.open()

    async def send(self, address: str, payload: Sequence[Call]) -> Outcome:
        try:
            token = await self._tokens.current()
            outcome = await self._offer(address, payload, token)
            if outcome.code != "UNAUTHENTICATED":
                return outcome
            self._tokens.forget(token)
            return await self._offer(address, payload, await self._tokens.current())
        except CannotOpen as error:
            return error.outcome

    async def _offer(self, address: str, payload: Sequence[Call], token: str) -> Outcome:
        signed = [replace(call, headers={**call.headers, "Authorization": f"Bearer {token}"}) for call in payload]
        return await self._seat.send(address, signed)

    async def close(self) -> None:
        await self._seat.close()


def _said(content: Content, number: str) -> dict[str, Any]:
    """What the person sees, and what the program on the phone gets."""
    shown = {
        "title": content.subject,
        "body": content.text,
        "image": content.media.url if content.media else None,
    }
    return {
        "notification": {name: value for name, value in shown.items() if value},
        "data": {**content.data, "id": number, **({"url": content.url} if content.url else {})},
    }


def _size(said: Mapping[str, Any]) -> int:
    return len(json.dumps(said, ensure_ascii=False).encode())


def check_address(text: str) -> str:
    if not _DEVICE.fullmatch(text):
        raise ValueError("A device is the registration token that FCM has given its program.")
    return text


def check_content(content: Content) -> Sequence[Problem]:
    """Names that FCM or we use ourselves, and the size, as it is written."""
    found = [
        Problem(f"content.data.{name}", "This name is taken.")
        for name in content.data
        if name in _OURS or _RESERVED.fullmatch(name)
    ]
    length = _size(_said(content, "0" * 36))
    if length > MOST_BYTES:
        found.append(Problem("content", f"At most {MOST_BYTES} bytes for fcm, not {length}."))
    return found


def judge(answer: Answer) -> Outcome:
    """What an answer means: `{"name"}`, or Google's `{"error": {"status", "details": [...]}}`."""
    outcome = by_status_once(answer)
    body = _body(answer)
    if outcome.error is None:
        name = body.get("name")
        tail = name.rpartition("/")[2][:100] if isinstance(name, str) else ""
        return Outcome(provider_id=tail if tail.isprintable() and tail else None)
    error = body.get("error")
    if not isinstance(error, dict):
        return outcome
    details = [each for each in _list(error.get("details")) if isinstance(each, dict)]
    given = [str(each["errorCode"]) for each in details if "errorCode" in each]
    code = next((each for each in (*given, str(error.get("status"))) if each in ERRORS), None)
    return outcome if code is None else _outcome(code, details, answer)


def _outcome(code: str, details: Sequence[Mapping[str, Any]], answer: Answer) -> Outcome:
    kind, effect = ERRORS[code], EFFECTS.get(code)
    pause = seconds_of(answer.headers.get("retry-after", ""))
    if kind is ErrorClass.THROTTLE:
        return Outcome(kind, code, pause_seconds=_QUOTA_PAUSE if pause is None else pause)
    if code == "UNAVAILABLE" and pause is not None:
        return Outcome(ErrorClass.THROTTLE, code, pause_seconds=pause)
    if code == "INVALID_ARGUMENT":
        violations = [each for detail in details for each in _list(detail.get("fieldViolations"))]
        dead = any(isinstance(each, dict) and each.get("field") == "message.token" for each in violations)
        effect = Effect.SUPPRESS if dead else None
    return Outcome(kind, code, effect=effect)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _body(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _open(setup: Setup) -> Fcm:
    return Fcm(setup.config, setup.secrets)


PROVIDER = Provider(
    capability=CAPABILITY,
    config=Config,
    secrets=Secrets,
    open=_open,
    check_address=check_address,
    check_content=check_content,
)
