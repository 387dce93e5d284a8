"""What mail providers allow: connections, messages a minute, recipients a day, and ways to sign in.

Exchange Online (learn.microsoft.com, `smtp-submission-improvements`, November 2026) refuses the fourth connection of a
mailbox and the recipient after the 10,000th of a day, and passes on late what is more than 30 messages a minute. Gmail
(support.google.com/a/answer/166852 and 3726730, November 2026) refuses the message after the 2,000th of any 24 hours.
"""

from collections import deque
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from deploy.sandbox.clocks import MovableClock
from libs.clock import Clock

_MINUTE, _DAY = 60.0, 86_400.0


class Rules(BaseModel):
    """Of all mailboxes here. None: no limit."""

    model_config = ConfigDict(extra="forbid")

    connections: int | None = Field(None, ge=1, description="Of one mailbox at a time; more are answered 432.")
    per_minute: int | None = Field(None, ge=1, description="Messages; what is more is taken and noted as `delayed`.")
    per_day: int | None = Field(None, ge=1, description="Messages within 24 hours.")
    over: str = Field(
        "550 5.4.5 Daily user sending limit exceeded.",
        pattern=r"^[45][0-9]{2} [\x20-\x7e]{1,400}$",
        description="What is said to the message after the last one of a day.",
    )
    passwords: bool = Field(default=True, description="False: only XOAUTH2.")


Preset = Literal["gmail", "office365", "none"]
PRESETS: Mapping[Preset, Rules] = {
    "none": Rules(),
    "gmail": Rules(per_day=2000),
    "office365": Rules(
        connections=3,
        per_minute=30,
        per_day=10_000,
        over="554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException",
    ),
}
TOO_MANY_CONNECTIONS = "432 4.3.2 Concurrent connections limit exceeded."
NO_PASSWORDS = "550 5.7.30 Basic authentication is not supported for Client Submission."


class Allowance:
    """How much of it each mailbox has used."""

    def __init__(self, clock: Clock) -> None:
        self.rules = Rules()
        self.clock = MovableClock(clock)
        self._sent: dict[str, deque[float]] = {}

    def may_sign_in_with_password(self) -> bool:
        return self.rules.passwords

    def may_connect(self, others: int) -> bool:
        return self.rules.connections is None or others < self.rules.connections

    def refusal(self, login: str) -> str | None:
        """Of the next message of this mailbox."""
        most = self.rules.per_day
        return self.rules.over if most is not None and self._within(login, _DAY) >= most else None

    def count(self, login: str) -> bool:
        """Notes a message. False: it is more than a minute allows."""
        most = self.rules.per_minute
        in_time = most is None or self._within(login, _MINUTE) < most
        self._sent.setdefault(login, deque()).append(self.clock.seconds())
        return in_time

    def forget(self) -> None:
        self._sent.clear()

    def _within(self, login: str, seconds: float) -> int:
        sent = self._sent.get(login)
        now = self.clock.seconds()
        while sent and sent[0] <= now - _DAY:
            sent.popleft()
        return sum(1 for at in sent or () if at > now - seconds)
