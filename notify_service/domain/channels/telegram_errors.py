"""What the answers of Telegram's Bot API mean."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from notify_service.domain.channels import Effect, ErrorClass, Outcome
from notify_service.domain.channels.http import Answer, by_status

_LONGEST_PAUSE = 3600.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """What Telegram means by an answer with this code and these words in its description."""

    status: int
    words: str
    code: str
    error: ErrorClass = ErrorClass.PERMANENT
    effect: Effect | None = None


MIGRATED = "migrated"
REFUSALS = (
    Refusal(400, "chat not found", "chat_not_found"),
    Refusal(400, "upgraded to a supergroup", MIGRATED),
    Refusal(400, "message is too long", "too_long"),
    Refusal(400, "caption is too long", "too_long"),
    Refusal(400, "text is empty", "empty"),
    Refusal(400, "can't parse entities", "bad_markup"),
    Refusal(400, "failed to get http url content", "media_unreachable", ErrorClass.TRANSIENT),
    Refusal(400, "wrong type of the web page content", "media_type"),
    Refusal(400, "wrong file identifier/http url", "media_address"),
    Refusal(400, "button_", "bad_button"),
    Refusal(400, "reaction_", "bad_reaction"),
    Refusal(400, "not enough rights", "no_rights"),
    Refusal(400, "have no rights", "no_rights"),
    Refusal(400, "topic_closed", "topic_closed"),
    Refusal(403, "bot was blocked by the user", "blocked", effect=Effect.SUPPRESS),
    Refusal(403, "user is deactivated", "deactivated", effect=Effect.SUPPRESS),
    Refusal(403, "bot was kicked", "kicked", effect=Effect.SUPPRESS),
    Refusal(403, "group chat was deleted", "chat_deleted", effect=Effect.SUPPRESS),
    Refusal(403, "bot is not a member", "not_member"),
    Refusal(403, "can't initiate conversation", "not_started"),
    Refusal(403, "can't send messages to", "is_bot", effect=Effect.SUPPRESS),
)
"""In small letters. Telegram's codes are those of HTTP and its reasons are prose, which its documentation does not
list; these are what its own server says (https://github.com/tdlib/telegram-bot-api, Client.cpp, and the threads of its
users; read 2026-11)."""

STATUSES = {
    "401": ErrorClass.AUTH,  # the token was revoked
    "403": ErrorClass.PERMANENT,  # of this chat, for a reason that we do not know
    "404": ErrorClass.AUTH,  # no bot has this token
    "413": ErrorClass.PERMANENT,
    "420": ErrorClass.THROTTLE,
    "429": ErrorClass.THROTTLE,
}


def judge(answer: Answer) -> Outcome:
    """What an answer of the Bot API means."""
    body = _body(answer)
    if body is None:
        return _without_body(answer)
    if body.get("ok") is True and answer.status == 200:
        return Outcome(provider_id=_id_of(body.get("result")))
    status = body.get("error_code")
    return _refused(status if type(status) is int else answer.status, body)


def moved_to(answer: Answer) -> str | None:
    """The id of the supergroup that the chat has become."""
    found = _parameters(_body(answer) or {}).get("migrate_to_chat_id")
    return str(found) if type(found) is int else None


def _refused(status: int, body: Mapping[str, Any]) -> Outcome:
    if status in (420, 429):
        return Outcome(ErrorClass.THROTTLE, str(status), pause_seconds=_pause(_parameters(body).get("retry_after")))
    if status >= 500:
        return Outcome(ErrorClass.AMBIGUOUS, str(status))
    said = str(body.get("description", ""))[:400].lower()
    for refusal in REFUSALS:
        if refusal.status == status and refusal.words in said:
            return Outcome(refusal.error, refusal.code, effect=refusal.effect)
    return Outcome(STATUSES.get(str(status), ErrorClass.PERMANENT), str(status))


def _pause(given: Any) -> float | None:
    return min(float(given), _LONGEST_PAUSE) if type(given) in (int, float) and given >= 0 else None


def _without_body(answer: Answer) -> Outcome:
    """Not Telegram's own words: something on the way, or a proxy before it."""
    if 200 <= answer.status < 300:
        return Outcome(ErrorClass.AMBIGUOUS, "bad_answer")
    if answer.status >= 500:
        return Outcome(ErrorClass.AMBIGUOUS, str(answer.status))
    return by_status(answer)


def _body(answer: Answer) -> dict[str, Any] | None:
    try:
        body = json.loads(answer.content)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) and isinstance(body.get("ok"), bool) else None


def _parameters(body: Mapping[str, Any]) -> Mapping[str, Any]:
    found = body.get("parameters")
    return found if isinstance(found, dict) else {}


def _id_of(result: Any) -> str | None:
    """Numbers of messages are those of their chat: with it they are the bot's own."""
    if not isinstance(result, dict) or type(number := result.get("message_id")) is not int:
        return None
    chat = result.get("chat")
    place = chat.get("id") if isinstance(chat, dict) else None
    return f"{place}:{number}" if type(place) is int else None
