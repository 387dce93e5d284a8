"""What WhatsApp tells by webhook: what people write, what becomes of our messages, and what changes in the account.

Facts: Meta's pages on webhooks (messages of 2026-06-17, statuses, system messages and capabilities of 2026-05-21,
templates of 2025-11-14, preferences of 2025-11-05) and on business-scoped user ids (of 2026-03-31), looked up in
November 2026. A body has many items, of several numbers; it comes again until it is answered with 200, in any order.

Who wrote is known by the id that WhatsApp has for them with this business, and by the phone where there is none. Data
of a message may have: `type`, `number` (ours, as the API names it), `phone`, `name`, `username`, `choice` (the id of
what was touched), `reaction` and `reply_to` (the message that is meant), `location`, `contacts`, `form`, `forwarded`.
Account events have the code `template`, `limit`, `account`, `marketing` (stopped or resumed), `migrated` (with the new
address in `to`), or the digits of an error.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from notify_service.domain.channels import Effect, ErrorClass, Setup
from notify_service.domain.channels.inbound import (
    ACCOUNT,
    DELIVERED,
    FAILED,
    MESSAGE,
    READ,
    RECEIPT,
    SENT,
    Event,
    Hook,
    Inbound,
    Reply,
)
from notify_service.domain.channels.whatsapp import Secrets, check_address
from notify_service.domain.channels.whatsapp_errors import code_of, effect_of, meaning_of
from notify_service.domain.channels.whatsapp_graph import limit_of
from notify_service.domain.channels.whatsapp_message import Said, said, text_of

SIGNATURE = "x-hub-signature-256"
_CHALLENGE = re.compile(r"[A-Za-z0-9_.-]{1,200}")
# Listened to, besides read: whoever hears a voice message has got it as well.
_STATES = {"sent": SENT, "delivered": DELIVERED, "read": READ, "played": READ, "failed": FAILED}
_UNUSABLE = frozenset({"PAUSED", "DISABLED", "REJECTED", "DELETED", "PENDING_DELETION", "ARCHIVED"})
_LOST = frozenset({"DISABLED_UPDATE", "ACCOUNT_DELETED", "PARTNER_REMOVED"})

Given = Mapping[str, Any]


def verify(raw: bytes, headers: Mapping[str, str], secrets: Secrets) -> bool:
    """Whether Meta has sent exactly these bytes, signed with the app's secret. Header names are in small letters."""
    if secrets.app_secret is None:
        return False
    made = hmac.digest(secrets.app_secret.get_secret_value().encode(), raw, "sha256").hex()
    return hmac.compare_digest(headers.get(SIGNATURE, "").encode("latin-1", "replace"), f"sha256={made}".encode())


def challenge(query: Mapping[str, str], secrets: Secrets) -> str | None:
    """What to answer, as plain text, to whoever sets the webhook up; None: who does not know our word."""
    if secrets.verify_token is None or query.get("hub.mode") != "subscribe":
        return None
    expected = secrets.verify_token.get_secret_value().encode()
    known = hmac.compare_digest(query.get("hub.verify_token", "").encode("utf-8", "replace"), expected)
    wanted = query.get("hub.challenge", "")
    return wanted if known and _CHALLENGE.fullmatch(wanted) else None


def parse(raw: bytes) -> list[Event]:
    """All that a body says, in its order; nothing of items that are not of Meta's shape. Raises ValueError for a body
    that is not."""
    try:
        body = _read(raw)
    except (ValueError, RecursionError):
        raise ValueError("This is no webhook of WhatsApp.") from None
    if not isinstance(body, dict) or body.get("object") != "whatsapp_business_account":
        raise ValueError("This is no webhook of WhatsApp.")
    return [
        event
        for entry in _items(body, "entry")
        for change in _items(entry, "changes")
        if (read := _READERS.get(str(change.get("field"))))
        for event in read(_of(change, "value"), entry)
    ]


def _read(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        # Takes what is nearly JSON, as half of an emoji that somebody has cut off.
        return json.loads(raw)


def _messages(value: Given, entry: Given) -> Iterator[Event]:
    number = text_of(_of(value, "metadata").get("phone_number_id"))
    contacts = list(_items(value, "contacts"))
    for given in _items(value, "messages"):
        message = _message(given, contacts, number)
        if message is not None:
            yield message
    for given in _items(value, "statuses"):
        receipt = _receipt(given, number)
        if receipt is not None:
            yield receipt
    for given in _items(value, "errors"):
        code = code_of(given)
        if code is not None:
            # Of the account as a whole, for no message is named.
            key = f"error:{entry.get('id')}:{entry.get('time')}:{code}"
            yield Event(
                kind=ACCOUNT,
                dedupe_key=key,
                at=_at(entry, "time"),
                code=code,
                error=meaning_of(code),
                data=_with(number),
            )


def _message(given: Given, contacts: list[Given], number: str | None) -> Event | None:
    message_id = text_of(given.get("id"))
    contact = _contact_of(given, contacts)
    who = _who(given.get("from_user_id") or contact.get("user_id"), given.get("from") or contact.get("wa_id"))
    if message_id is None or not who:
        return None
    peer = who["user_id"] if "user_id" in who else who["phone"]
    if given.get("type") == "system":
        return _moved(given, peer, message_id, number)
    told: Said = said(given)
    profile = _of(contact, "profile")
    names = {name: text for name in ("name", "username") if (text := text_of(profile.get(name), 128))}
    return Event(
        kind=MESSAGE,
        dedupe_key=message_id,
        at=_at(given, "timestamp"),
        peer=peer,
        provider_id=message_id,
        code=told.code,
        text=told.text,
        media=told.media,
        data={**_with(number), **who, **names, **told.data},
    )


def _moved(given: Given, peer: str, message_id: str, number: str | None) -> Event | None:
    """Somebody has another phone, and with it perhaps another id."""
    system = _of(given, "system")
    new = _who(system.get("user_id"), system.get("wa_id"))
    if not new:
        return None
    to = new["user_id"] if "user_id" in new else new["phone"]
    data = {**_with(number), **new, "to": to}
    at = _at(given, "timestamp")
    return Event(kind=ACCOUNT, dedupe_key=message_id, at=at, peer=peer, code="migrated", data=data)


def _receipt(given: Given, number: str | None) -> Event | None:
    message_id, status = text_of(given.get("id")), text_of(given.get("status"))
    state = _STATES.get(status or "")
    if message_id is None or state is None:
        return None
    who = _who(given.get("recipient_user_id"), given.get("recipient_id"))
    code = next((code_of(each) for each in _items(given, "errors")), None)
    failed = state == FAILED
    return Event(
        kind=RECEIPT,
        dedupe_key=f"{message_id}:{status}:{given.get('timestamp')}"[:700],
        at=_at(given, "timestamp"),
        peer=who.get("user_id") or who.get("phone"),
        provider_id=message_id,
        correlation=_uuid(given.get("biz_opaque_callback_data")),
        state=state,
        code=code if failed else None,
        error=(meaning_of(code) or ErrorClass.PERMANENT) if failed else None,
        effect=effect_of(code) if failed else None,
        data={**_with(number), **who, **({"played": True} if status == "played" else {})},
    )


def _template(value: Given, entry: Given) -> Iterator[Event]:
    names = {"name": "message_template_name", "language": "message_template_language", "status": "event"}
    names |= {"category": "message_template_category", "reason": "reason"}
    data = {name: text for name, key in names.items() if (text := text_of(value.get(key), 512))}
    if {"name", "language", "status"} <= data.keys():
        stopped = Effect.STOP_CAMPAIGN if data["status"] in _UNUSABLE else None
        yield _of_account(entry, "template", data, effect=stopped)


def _limit(value: Given, entry: Given) -> Iterator[Event]:
    given = value.get("max_daily_conversations_per_business", value.get("max_daily_conversation_per_phone"))
    limit = limit_of(given)
    if limit is not None or given in (-1, "TIER_UNLIMITED"):
        yield _of_account(entry, "limit", {"recipients_per_day": limit})


def _account(value: Given, entry: Given) -> Iterator[Event]:
    event = text_of(value.get("event"), 100)
    if event is not None:
        back = _of(value, "ban_info").get("waba_ban_state") == "REINSTATE"
        lost = ErrorClass.AUTH if event in _LOST and not back else None
        yield _of_account(entry, "account", {"event": event}, error=lost)


def _preference(value: Given, entry: Given) -> Iterator[Event]:
    for given in _items(value, "user_preferences"):
        who, wish = _who(given.get("user_id"), given.get("wa_id")), given.get("value")
        if who and wish in ("stop", "resume"):
            peer = who.get("user_id") or who.get("phone")
            yield Event(
                kind=ACCOUNT,
                dedupe_key=f"marketing:{entry.get('id')}:{peer}:{wish}:{given.get('timestamp')}",
                at=_at(given, "timestamp"),
                peer=peer,
                code="marketing",
                effect=Effect.OPT_OUT if wish == "stop" else None,
                data={**who, "value": wish},
            )


_READERS: Mapping[str, Callable[[Given, Given], Iterator[Event]]] = {
    "messages": _messages,
    "message_template_status_update": _template,
    "business_capability_update": _limit,
    "phone_number_quality_update": _limit,
    "account_update": _account,
    "user_preferences": _preference,
}
FIELDS = tuple(_READERS)
"""What the webhook is to be subscribed to."""


def _of_account(entry: Given, code: str, data: dict[str, Any], **meaning: Any) -> Event:
    """It has no id of its own: the same is what is said by the same account at the same time."""
    told = json.dumps([entry.get("id"), entry.get("time"), code, data], sort_keys=True)
    key = f"{code}:{hashlib.blake2b(told.encode(), digest_size=16).hexdigest()}"
    return Event(kind=ACCOUNT, dedupe_key=key, at=_at(entry, "time"), code=code, data=data, **meaning)


def _contact_of(given: Given, contacts: list[Given]) -> Given:
    """Who it is of those that a body with several messages names together."""
    mine = (
        each
        for each in contacts
        if (given.get("from_user_id") and each.get("user_id") == given["from_user_id"])
        or (given.get("from") and each.get("wa_id") == given["from"])
    )
    return next(mine, contacts[0] if len(contacts) == 1 else {})


def _who(user_id: object, phone: object) -> dict[str, str]:
    """The addresses of somebody, as far as they are told: `user_id` and `phone`."""
    found = {"user_id": user_id, "phone": f"+{phone.removeprefix('+')}" if isinstance(phone, str) else None}
    return {name: given for name, given in found.items() if isinstance(given, str) and _is_address(given)}


def _is_address(given: str) -> bool:
    try:
        return check_address(given) == given
    except ValueError:
        return False


def _with(number: str | None) -> dict[str, Any]:
    return {} if number is None else {"number": number}


def _uuid(given: object) -> UUID | None:
    try:
        return UUID(given) if isinstance(given, str) else None
    except ValueError:
        return None


def _at(given: Given, name: str) -> datetime | None:
    """Of seconds since 1970, in digits or as a number."""
    seconds = given.get(name)
    if isinstance(seconds, str) and seconds.isascii() and seconds.isdigit() and len(seconds) < 12:
        seconds = int(seconds)
    return datetime.fromtimestamp(seconds, UTC) if type(seconds) is int and 0 < seconds < 2**35 else None


def _items(given: Given, name: str) -> Iterator[Given]:
    found = given.get(name)
    return (each for each in found if isinstance(each, dict)) if isinstance(found, list) else iter(())


def _of(given: Given, name: str) -> Given:
    found = given.get(name)
    return found if isinstance(found, dict) else {}


def _answer(hook: Hook, setup: Setup) -> Reply | None:
    found = challenge(hook.query, setup.secrets) if hook.method == "GET" else None
    return Reply(found.encode()) if found is not None else None


INBOUND = Inbound(
    verify=lambda hook, setup: verify(hook.body, hook.headers, setup.secrets),
    parse=lambda hook, _: parse(hook.body),
    challenge=_answer,
)
