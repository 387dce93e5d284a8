"""What Twilio tells: receipts, and what people answer. Both are forms, signed with the account's token.

From twilio.com/docs/usage/security and twilio.com/docs/messaging/guides/webhook-request, as of November 2026.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl
from uuid import UUID

from notify_service.domain.channels import Effect, ErrorClass, Setup
from notify_service.domain.channels.inbound import (
    DELIVERED,
    FAILED,
    MESSAGE,
    READ,
    RECEIPT,
    SENT,
    Event,
    Hook,
    Inbound,
)
from notify_service.domain.channels.phones import e164
from notify_service.domain.channels.twilio_account import CORRELATION, Secrets
from notify_service.domain.channels.twilio_errors import EFFECTS, ERRORS

SIGNATURE = "x-twilio-signature"
# Twilio itself takes these for an end of all messages, and a word of the second kind for their return.
STOP = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"})
START = frozenset({"START", "UNSTOP", "YES"})
_STATES = {"sent": SENT, "delivered": DELIVERED, "read": READ, "undelivered": FAILED, "failed": FAILED}
_MOST_FIELDS = 200
_MOST_MEDIA = 10
_MOST_URL = 500


def verify(hook: Hook, setup: Setup) -> bool:
    """Whether Twilio has sent this to that address: it signs both."""
    try:
        fields = _fields(hook.body)
    except ValueError:
        return False
    secrets: Secrets = setup.secrets
    signed = hook.url + "".join(f"{name}{value}" for name, value in sorted(set(fields)))
    key = secrets.auth_token.get_secret_value().encode()
    expected = base64.b64encode(hmac.new(key, signed.encode(), hashlib.sha1).digest())
    return hmac.compare_digest(expected, hook.headers.get(SIGNATURE, "").encode("latin-1", "replace"))


def parse(hook: Hook) -> Sequence[Event]:
    """The receipt or the message of a form. Raises ValueError for what is neither."""
    form = dict(_fields(hook.body))
    sid = form.get("MessageSid") or form.get("SmsSid") or ""
    if not sid.isalnum() or len(sid) > 64:
        raise ValueError("no MessageSid")
    if "MessageStatus" in form:
        return _receipt(form, sid, hook.query.get(CORRELATION, ""))
    if "Body" not in form and "NumMedia" not in form:
        raise ValueError("neither a receipt nor a message")
    return [_message(form, sid)]


INBOUND = Inbound(verify=verify, parse=lambda hook, _: parse(hook))


def _fields(raw: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(raw.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=_MOST_FIELDS)
    except UnicodeDecodeError:
        raise ValueError("no form") from None


def _receipt(form: Mapping[str, str], sid: str, delivery: str) -> list[Event]:
    """None for the states before `sent`, which say nothing new."""
    state = _STATES.get(form["MessageStatus"])
    if state is None:
        return []
    code = form.get("ErrorCode") or None
    failed = state == FAILED
    return [
        Event(
            kind=RECEIPT,
            dedupe_key=f"{sid}:{form['MessageStatus']}",
            peer=_peer(form.get("To", "")),
            provider_id=sid,
            correlation=_correlation(delivery),
            state=state,
            code=code[:20] if code and failed else None,
            error=ERRORS.get(code or "", ErrorClass.PERMANENT) if failed else None,
            effect=EFFECTS.get(code or "") if failed else None,
        )
    ]


def _message(form: Mapping[str, str], sid: str) -> Event:
    text = form.get("Body", "")
    keyword = _keyword(form, text)
    data = {"to": form.get("To", ""), "country": form.get("FromCountry", ""), "keyword": keyword}
    items = [
        {"url": url[:_MOST_URL], "kind": _kind(form.get(f"MediaContentType{index}", ""))}
        for index in range(_MOST_MEDIA)
        if (url := form.get(f"MediaUrl{index}"))
    ]
    return Event(
        kind=MESSAGE,
        dedupe_key=sid,
        peer=_peer(form.get("From", "")),
        provider_id=sid,
        effect=Effect.OPT_OUT if keyword == "stop" else None,
        text=text or None,
        media={"items": items} if items else None,
        data={name: value for name, value in data.items() if value},
    )


def _kind(type_: str) -> str:
    """As Twilio announces it; the content says later what it is."""
    kind = type_.partition("/")[0]
    return kind if kind in ("image", "audio", "video") else "document"


def _keyword(form: Mapping[str, str], text: str) -> str:
    """`stop`, `start`, `help` or nothing. A messaging service has words of its own, and says what it took them for."""
    if "OptOutType" in form:
        return form["OptOutType"].lower()
    word = text.strip().upper()
    return "stop" if word in STOP else "start" if word in START else ""


def _peer(text: str) -> str | None:
    """Short codes and names are nobody who could be answered."""
    try:
        return e164(text)
    except ValueError:
        return None


def _correlation(delivery: str) -> UUID | None:
    try:
        return UUID(delivery)
    except ValueError:
        return None
