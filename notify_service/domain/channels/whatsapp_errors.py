"""What WhatsApp's error codes mean, in answers and in receipts.

Source of the codes: Meta's page of error codes (of 2026-05-15) as several providers repeat it, and for 131062 its page
of business-scoped user ids (of 2026-03-31); looked up in November 2026. The classes are ours. Two of them need a word:
130497, a country that the business may not write to, condemns the message alone, for one such recipient must not stop
everybody else's messages; and what ails a template condemns every message of it.
"""

import json
from collections.abc import Mapping
from typing import Any

from notify_service.domain.channels import Effect, ErrorClass, Outcome
from notify_service.domain.channels.http import Answer, by_status, seconds_of

PERMISSIONS = "200-299"
"""Codes of the Graph API for a permission that is missing, all with one meaning."""

_TEMPLATE = (
    "132000", "132001", "132005", "132007", "132012", "132015", "132016", "132068", "132069",
)  # fmt: skip
ERRORS: Mapping[str, ErrorClass] = {
    # The token, its permissions; the account is locked, blocked, unpaid or unregistered.
    **dict.fromkeys(("0", "3", "10", "190", PERMISSIONS, "131005"), ErrorClass.AUTH),
    **dict.fromkeys(("33", "368", "131031", "131042", "131045"), ErrorClass.AUTH),
    # Refused before anything was done with them: of the app, of the business account, of the phone number.
    **dict.fromkeys(("4", "613", "80007", "130429", "131057"), ErrorClass.THROTTLE),
    "131056": ErrorClass.RECIPIENT,
    **dict.fromkeys(("470", "131047"), ErrorClass.WINDOW),
    **dict.fromkeys(("1", "2", "131000", "131016", "133004"), ErrorClass.TRANSIENT),
    # Of the recipient: cannot be reached, has had enough of marketing, wants none, takes part in an experiment.
    **dict.fromkeys(("130472", "130497", "131026", "131049", "131050", "131062"), ErrorClass.PERMANENT),
    # Of the message.
    **dict.fromkeys(("100", "131008", "131009", "131021", "131051", "131052", "131053"), ErrorClass.PERMANENT),
    # Too many of the number's messages were blocked or reported.
    "131048": ErrorClass.PERMANENT,
    **dict.fromkeys(_TEMPLATE, ErrorClass.PERMANENT),
}
EFFECTS: Mapping[str, Effect] = {
    "131048": Effect.STOP_CAMPAIGN,
    "131050": Effect.OPT_OUT,
    **dict.fromkeys(_TEMPLATE, Effect.STOP_CAMPAIGN),
}

# Meta does not know either what became of the message.
_UNSURE = frozenset({"1", "131000"})
# While a number is moved to a higher throughput, at most a minute.
_PAUSES = {"131057": 60.0}
_USAGE = "x-business-use-case-usage"
_LONGEST_ID = 500


def judge(answer: Answer) -> Outcome:
    """What an answer to a message means."""
    body = parsed(answer.content)
    if not 200 <= answer.status < 300:
        return refusal(answer, body)
    message_id = _message_id(body)
    if message_id is None:
        # Something answered, but was it WhatsApp, and did it take the message?
        return Outcome(ErrorClass.AMBIGUOUS, "bad_answer")
    return Outcome(provider_id=message_id)


def refusal(answer: Answer, body: Mapping[str, Any]) -> Outcome:
    """What an answer that is no success means. Its code says more than its status: a missing permission has 500."""
    error = body.get("error")
    code = code_of(error) if isinstance(error, Mapping) else None
    meaning = meaning_of(code)
    if answer.status >= 500 and (meaning is None or code in _UNSURE):
        return Outcome(ErrorClass.AMBIGUOUS, code or str(answer.status))
    if meaning is None and answer.status == 429:
        meaning = ErrorClass.THROTTLE
    if meaning is None:
        return Outcome(by_status(answer).error, code or str(answer.status))
    return Outcome(
        meaning, code or str(answer.status), pause_seconds=_pause(meaning, code, answer), effect=effect_of(code)
    )


def meaning_of(code: str | None) -> ErrorClass | None:
    if code is None:
        return None
    return ERRORS.get(code) or (ERRORS[PERMISSIONS] if len(code) == 3 and code.startswith("2") else None)


def effect_of(code: str | None) -> Effect | None:
    return EFFECTS.get(code) if code else None


def code_of(error: Mapping[str, Any]) -> str | None:
    """The code of an error object, in digits."""
    code = error.get("code")
    return str(code) if isinstance(code, int) and not isinstance(code, bool) and 0 <= code < 10**9 else None


def parsed(content: bytes) -> Mapping[str, Any]:
    """The object that a body is; an empty one for what is none."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _message_id(body: Mapping[str, Any]) -> str | None:
    match body.get("messages"):
        case [{"id": str(found)}, *_] if 0 < len(found) <= _LONGEST_ID and found.isascii() and found.isprintable():
            return found
    return None


def _pause(meaning: ErrorClass, code: str | None, answer: Answer) -> float | None:
    """How long to stay away, in seconds: as the headers say, or as the code is known to take."""
    if meaning is not ErrorClass.THROTTLE:
        return None
    told = seconds_of(answer.headers.get("retry-after", ""))
    usage = _regained(answer.headers.get(_USAGE, ""))
    return max((each for each in (told, usage) if each), default=_PAUSES.get(code or ""))


def _regained(header: str) -> float | None:
    """`{"<business>": [{"estimated_time_to_regain_access": 12, ...}]}`, in minutes: Graph API, rate limits."""
    found = [
        entry.get("estimated_time_to_regain_access")
        for entries in parsed(header.encode()).values()
        if isinstance(entries, list)
        for entry in entries
        if isinstance(entry, dict)
    ]
    minutes = max((each for each in found if isinstance(each, int) and not isinstance(each, bool)), default=0)
    return seconds_of(str(minutes * 60)) if minutes > 0 else None
