"""Text messages through Twilio's Programmable Messaging.

Twilio knows no ids of ours, so what gets no answer may have gone out; the delivery's id travels in the address that
receipts come to, and so tells later. Shapes from twilio.com/docs/messaging/api/message-resource, as of November 2026.
"""

import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from notify_service.domain.channels import (
    Capability,
    ErrorClass,
    Line,
    Message,
    Outcome,
    Provider,
    Setup,
)
from notify_service.domain.channels.http import Answer, Call, Seat, by_status_once
from notify_service.domain.channels.phones import TEXT_MAX, e164
from notify_service.domain.channels.sms import problems, text_of
from notify_service.domain.channels.twilio_account import CORRELATION, Config, Secrets, authorization
from notify_service.domain.channels.twilio_errors import EFFECTS, ERRORS
from notify_service.domain.channels.twilio_inbound import INBOUND

_DAY_LIMIT_PAUSE = 3600.0
_PAUSE_SECONDS = {"63038": _DAY_LIMIT_PAUSE, "21611": 60.0, "30023": _DAY_LIMIT_PAUSE}
_SHORT_PAUSE = 5.0

CAPABILITY = Capability(
    channel="sms",
    provider="twilio",
    lines=4,
    address="phone",
    text_max=TEXT_MAX,
    overflow="refuse",
    receipts=frozenset({"delivered"}),
    inbound=frozenset({"webhook"}),
    idempotency="correlate",
    interchangeable=True,
    errors=ERRORS,
)


class Twilio:
    """The channel of one account."""

    fills = False

    def __init__(self, config: Config, secrets: Secrets) -> None:
        if (config.key_sid is None) != (secrets.key_secret is None):
            raise ValueError("An API key is a key_sid and a key_secret.")
        self._config = config
        self._secrets = secrets
        told = config.status_callback is not None
        self.capability = replace(
            CAPABILITY,
            lines=config.lines,
            receipts=CAPABILITY.receipts if told else frozenset(),
            idempotency="correlate" if told else "none",
        )

    def render(self, message: Message) -> list[Call]:
        config = self._config
        form: dict[str, Any] = {"To": message.address, "Body": text_of(message, config.most_segments)}
        if config.messaging_service_sid is not None:
            form["MessagingServiceSid"] = config.messaging_service_sid
        else:
            form["From"] = config.sender
        if config.status_callback is not None:
            joint = "&" if config.status_callback.query else "?"
            form["StatusCallback"] = f"{config.status_callback}{joint}{CORRELATION}={message.id}"
        if config.validity_seconds is not None:
            form["ValidityPeriod"] = config.validity_seconds
        return [Call(f"/2010-04-01/Accounts/{config.account_sid}/Messages.json", urlencode(form).encode())]

    def line(self) -> Line:
        headers = {
            "Authorization": authorization(self._config, self._secrets),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return Seat(judge, base_url=str(self._config.base_url), headers=headers, timeout=self._config.timeout)


def judge(answer: Answer) -> Outcome:
    """What an answer means: `{"sid", ...}`, or `{"code", "message", "status"}`."""
    outcome = by_status_once(answer)
    body = _body(answer)
    if outcome.error is None:
        sid = body.get("sid")
        return Outcome(provider_id=sid[:100] if isinstance(sid, str) and sid.isalnum() else None)
    code = str(body.get("code"))
    if code not in ERRORS:
        return outcome
    pause = outcome.pause_seconds
    if ERRORS[code] is ErrorClass.THROTTLE and pause is None:
        pause = _PAUSE_SECONDS.get(code, _SHORT_PAUSE)
    return Outcome(ERRORS[code], code, pause_seconds=pause, effect=EFFECTS.get(code))


def _body(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _open(setup: Setup) -> Twilio:
    return Twilio(setup.config, setup.secrets)


PROVIDER = Provider(
    capability=CAPABILITY,
    config=Config,
    secrets=Secrets,
    open=_open,
    check_address=e164,
    check_content=problems,
    inbound=INBOUND,
)
