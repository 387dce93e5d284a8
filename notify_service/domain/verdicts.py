"""What follows from an outcome. Pure: the whole policy of retries is here."""

import secrets
from dataclasses import dataclass, replace

from notify_service.domain.channels import BLAMES_ACCOUNT, NO_CHANNEL, ErrorClass, Outcome

_RETRY_SECONDS, _RETRY_CAP_SECONDS = 2.0, 900.0
# A code is worth nothing after five minutes.
_TEXT_RETRY_CAP_SECONDS = 30.0
# Customers' programs may be away for a weekend, and know a repetition by its id: with the limits for mails as they
# are without settings, they are tried for about three days.
_HOOK_RETRY_SECONDS, _HOOK_TIMES = 5.0, 3
_random = secrets.SystemRandom()


@dataclass(frozen=True, slots=True)
class Policy:
    retry_base: float = 60.0
    retry_cap: float = 4 * 3600.0
    max_attempts: int = 8
    lease: float = 10.0
    breaker: float = 30.0


def policy_for(policy: Policy, channel: str) -> Policy:
    """Of mails as it is set up; of a channel whose messages somebody waits for, by the second instead of the hour."""
    if channel == "email":
        return policy
    if channel == "webhook":
        return replace(
            policy,
            retry_base=min(policy.retry_base, _HOOK_RETRY_SECONDS),
            retry_cap=policy.retry_cap * _HOOK_TIMES,
            max_attempts=policy.max_attempts * _HOOK_TIMES,
            breaker=min(policy.breaker, _RETRY_SECONDS),
        )
    return replace(
        policy,
        retry_base=min(policy.retry_base, _RETRY_SECONDS),
        retry_cap=min(policy.retry_cap, _TEXT_RETRY_CAP_SECONDS if channel == "sms" else _RETRY_CAP_SECONDS),
        breaker=min(policy.breaker, _RETRY_SECONDS),
    )


@dataclass(frozen=True, slots=True)
class Decision:
    state: str
    delay: float = 0.0
    reason: str | None = None
    counts: bool = True


def decide(outcome: Outcome, attempts: int, *, at_least_once: bool, policy: Policy) -> Decision:
    """`attempts` includes the one that ended so."""
    if outcome.error is None:
        return Decision("sent")
    if outcome.error in BLAMES_ACCOUNT:
        # The breaker of the account decides when it goes on; the message has lost nothing but time.
        return Decision("retry", delay=min(1.0, policy.breaker), counts=False)
    if outcome.error is ErrorClass.RECIPIENT:
        return Decision("retry", delay=outcome.pause_seconds or policy.retry_base, counts=False)
    if outcome.error is ErrorClass.WINDOW:
        return Decision("failed", reason="window_closed")
    if outcome.error is ErrorClass.PERMANENT:
        return Decision("failed", reason=NO_CHANNEL if outcome.code == NO_CHANNEL else "refused")
    if outcome.error is ErrorClass.AMBIGUOUS and not at_least_once:
        return Decision("unknown", reason="no_answer")
    if attempts >= policy.max_attempts:
        return Decision("dead", reason="attempts")
    return Decision("retry", delay=_backoff(attempts, policy))


def _backoff(attempts: int, policy: Policy) -> float:
    """Full jitter: messages that failed together come back apart."""
    return _random.uniform(0, min(policy.retry_cap, policy.retry_base * 2 ** (attempts - 1)))
