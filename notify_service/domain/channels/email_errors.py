"""What SMTP servers mean by their codes.

Enhanced codes are those of RFC 3463 and its IANA registry. Providers' own, as of November 2026: Gmail's from
support.google.com/a/answer/3726730, Exchange Online's from learn.microsoft.com (`smtp-submission-improvements`,
`continuous-error-throttling-smtp-auth-submissions`) and techcommunity.microsoft.com (January 2026).
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from notify_service.domain.bounces import DEAD
from notify_service.domain.channels import Effect, ErrorClass, Outcome
from notify_service.domain.channels.email_smtp import Reply

_ENHANCED = re.compile(r"\s*([245]\.\d{1,3}\.\d{1,3})\b")
# Both give their users' allowance back bit by bit, over a day: who asks once an hour loses little and annoys nobody.
_DAY_LIMIT_PAUSE = 3600.0


class Meaning(NamedTuple):
    error: ErrorClass
    pause: float | None = None
    effect: Effect | None = None


_DEAD = Meaning(ErrorClass.PERMANENT, effect=Effect.SUPPRESS)
# Exchange Online: too many failures in a row, of whatever kind.
_TOO_MANY_ERRORS = Meaning(ErrorClass.THROTTLE, _DAY_LIMIT_PAUSE)
_MEANINGS: Mapping[str, Meaning] = {
    "421": Meaning(ErrorClass.THROTTLE),
    "432 4.3.2": Meaning(ErrorClass.THROTTLE),  # Exchange Online: more than three connections
    "454 4.7.0": Meaning(ErrorClass.THROTTLE),
    "530": Meaning(ErrorClass.AUTH),
    "534": Meaning(ErrorClass.AUTH),
    "535": Meaning(ErrorClass.AUTH),
    "538": Meaning(ErrorClass.AUTH),
    "550 5.4.5": Meaning(ErrorClass.THROTTLE, _DAY_LIMIT_PAUSE),  # Gmail: messages a day used up
    "550 5.7.30": Meaning(ErrorClass.AUTH),  # Exchange Online: basic authentication switched off
    "554 5.2.0": Meaning(ErrorClass.THROTTLE, _DAY_LIMIT_PAUSE),  # Exchange Online: recipients a day used up
    **dict.fromkeys((f"550 5.2.25{last}" for last in range(1, 6)), _TOO_MANY_ERRORS),
    "554 5.2.252": Meaning(ErrorClass.AUTH),  # Exchange Online: not allowed to send as this sender
    "5.7.60": Meaning(ErrorClass.AUTH),  # the same
    **dict.fromkeys(DEAD, _DEAD),
    "5.2.2": Meaning(ErrorClass.PERMANENT),  # full: somebody may tidy up
}
"""By code and enhanced code, or by either alone."""

ERRORS: Mapping[str, ErrorClass] = {code: meaning.error for code, meaning in _MEANINGS.items()}


def outcome_of(reply: Reply, *, sender: bool = False) -> Outcome:
    """What a refusal means. `sender`: it was said to our own address, not to the recipient's or the message."""
    found = _ENHANCED.match(reply.text)
    enhanced = found.group(1) if found else ""
    shown = f"{reply.code} {enhanced}".strip()
    meaning = _MEANINGS.get(shown) or _MEANINGS.get(enhanced) or _MEANINGS.get(str(reply.code))
    if meaning is not None and not (sender and meaning.error is ErrorClass.PERMANENT):
        return Outcome(meaning.error, shown, pause_seconds=meaning.pause, effect=meaning.effect)
    if sender and reply.code >= 500:
        # Every message would fail, and none of them is to blame.
        return Outcome(ErrorClass.AUTH, shown)
    return Outcome(ErrorClass.PERMANENT if reply.code >= 500 else ErrorClass.TRANSIENT, shown)


def unopened(reply: Reply, *, signing_in: bool = False) -> Outcome:
    """What it means that a server refuses before the first message."""
    outcome = outcome_of(reply)
    if outcome.error is ErrorClass.AUTH or (signing_in and reply.code >= 500):
        return Outcome(ErrorClass.AUTH, outcome.code)
    return Outcome(ErrorClass.UNREACHABLE, outcome.code, pause_seconds=outcome.pause_seconds)


def lost(*, written: bool) -> Outcome:
    """What silence means. `written`: the message was handed over to the last dot, so it may mean success."""
    if written:
        return Outcome(ErrorClass.AMBIGUOUS, "no_answer")
    return Outcome(ErrorClass.TRANSIENT, "connection_lost")
