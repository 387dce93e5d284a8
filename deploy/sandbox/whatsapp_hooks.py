"""What WhatsApp tells a business, in the shapes of its webhooks.

Facts: Meta's pages on webhooks (messages of 2026-06-17, statuses and capabilities of 2026-05-21, templates, quality
and accounts of 2025-11-14), and on business-scoped user ids (of 2026-03-31): a phone is left out where its owner has a
user name, unless the business wrote to the phone; failed statuses have no contacts. Bodies are signed with the app's
secret.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

from deploy.sandbox.whatsapp_state import Business, Chat, Number, Person, Template

Item = dict[str, Any]
"""One change of one business: `business`, `at`, `field` and `value`."""

_MESSAGES = "messages"


def pack(items: Sequence[Item], app_secret: str) -> tuple[bytes, Mapping[str, str]]:
    """One body for all of them. What is said of one number stands together."""
    entries: list[dict[str, Any]] = []
    for item in items:
        if not entries or entries[-1]["id"] != item["business"]:
            entries.append({"id": item["business"], "time": item["at"], "changes": []})
        _join(entries[-1]["changes"], {"field": item["field"], "value": item["value"]})
    body = json.dumps({"object": "whatsapp_business_account", "entry": entries}).encode()
    return body, {"Content-Type": "application/json", "X-Hub-Signature-256": signature(body, app_secret)}


def signature(body: bytes, app_secret: str) -> str:
    return "sha256=" + hmac.new(app_secret.encode(), body, hashlib.sha256).hexdigest()


def _join(changes: list[dict[str, Any]], change: dict[str, Any]) -> None:
    if changes and change["field"] == _MESSAGES == changes[-1]["field"]:
        last, value = changes[-1]["value"], change["value"]
        kind = next(name for name in (_MESSAGES, "statuses") if name in value)
        if kind in last and last["metadata"] == value["metadata"]:
            last[kind] = [*last[kind], *value[kind]]
            contacts = [*last.get("contacts", ()), *value.get("contacts", ())]
            last["contacts"] = list({json.dumps(each): each for each in contacts}.values())
            return
    changes.append({**change, "value": dict(change["value"])})


def _of_number(number: Number) -> dict[str, Any]:
    metadata = {"display_phone_number": number.display, "phone_number_id": number.id}
    return {"messaging_product": "whatsapp", "metadata": metadata}


def _contact(person: Person, *, shown: bool) -> dict[str, Any]:
    profile = {"name": person.name, **({"username": person.username} if person.username else {})}
    return {"profile": profile, "user_id": person.user_id, **({"wa_id": person.wa_id} if shown else {})}


def status(business: Business, chat: Chat, state: str, *, at: float, error: Mapping[str, Any] | None = None) -> Item:
    person = chat.person
    shown = not (chat.to_user_id and person.username)
    found: dict[str, Any] = {"id": chat.id, "status": state, "timestamp": str(int(at))}
    if shown:
        found["recipient_id"] = person.wa_id
    if not error or chat.to_user_id:
        found["recipient_user_id"] = person.user_id
    if chat.opaque is not None:
        found["biz_opaque_callback_data"] = chat.opaque
    value = {**_of_number(chat.number), "statuses": [found]}
    if error:
        found["errors"] = [error]
    else:
        found["pricing"] = {"billable": True, "pricing_model": "PMP", "category": "utility", "type": "regular"}
        value["contacts"] = [_contact(person, shown=shown)]
    return _item(business, at, _MESSAGES, value)


def message(business: Business, chat: Chat) -> Item:
    """What somebody wrote."""
    person = chat.person
    shown = person.username is None
    found: dict[str, Any] = {
        **({"from": person.wa_id} if shown else {}),
        "from_user_id": person.user_id,
        "id": chat.id,
        "timestamp": str(int(chat.at)),
        "type": chat.type,
        chat.type: chat.content,
    }
    if chat.reply_to is not None:
        found["context"] = {"from": chat.number.display, "id": chat.reply_to}
    if chat.type == "unsupported":
        details = {"details": "Message type is currently not supported."}
        found["errors"] = [{"code": 131051, "title": "Message type unknown", "error_data": details}]
    value = {**_of_number(chat.number), "contacts": [_contact(person, shown=shown)], _MESSAGES: [found]}
    return _item(business, chat.at, _MESSAGES, value)


def preference(business: Business, number: Number, person: Person, at: float) -> Item:
    value = "resume" if person.wants_marketing else "stop"
    found = {
        "user_id": person.user_id,
        **({} if person.username else {"wa_id": person.wa_id}),
        "detail": f"User requested to {value} marketing messages",
        "category": "marketing_messages",
        "value": value,
        "timestamp": int(at),
    }
    contacts = [_contact(person, shown=person.username is None)]
    return _item(
        business, at, "user_preferences", {**_of_number(number), "contacts": contacts, "user_preferences": [found]}
    )


def template_status(business: Business, template: Template, at: float) -> Item:
    value = {
        "event": template.status,
        "message_template_id": int(template.id),
        "message_template_name": template.name,
        "message_template_language": template.language,
        "message_template_category": template.category,
        "reason": "NONE",
    }
    return _item(business, at, "message_template_status_update", value)


def capability(business: Business, at: float) -> Item:
    limit = -1 if business.tier is None else business.tier
    value = {"max_daily_conversations_per_business": limit, "max_phone_numbers_per_waba": 25}
    return _item(business, at, "business_capability_update", value)


def quality(business: Business, number: Number, event: str, at: float) -> Item:
    """`FLAGGED`, `UNFLAGGED` and others, with the limit that holds from now on."""
    limit = "TIER_UNLIMITED" if business.tier is None else f"TIER_{business.tier}"
    limit = limit.replace("000", "K")
    value = {"display_phone_number": number.display, "event": event, "max_daily_conversations_per_business": limit}
    return _item(business, at, "phone_number_quality_update", value)


def account(business: Business, event: str, at: float) -> Item:
    """What became of a business account: `DISABLED_UPDATE`, `VERIFIED_ACCOUNT` and others."""
    bans = {"DISABLED_UPDATE": {"ban_info": {"waba_ban_state": "DISABLE", "waba_ban_date": "November 22, 2026"}}}
    return _item(business, at, "account_update", {"event": event, **bans.get(event, {})})


def _item(business: Business, at: float, name: str, value: dict[str, Any]) -> Item:
    return {"business": business.id, "at": int(at), "field": name, "value": value}
