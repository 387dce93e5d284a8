"""What a customer's endpoint can hear of: the names of events, and the patterns by which it chooses."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, StringConstraints

EVENT: Final = "event"
"""The template of a delivery that says what happened. Its variables are the body."""
TEST: Final = "test"
"""What an endpoint is sent to try it out, whatever it listens to."""
DELIVERY_STATES: Final = (
    *("sent", "delivered", "read", "failed", "unknown"),
    *("suppressed", "duplicate", "expired", "cancelled", "digested"),
)
CAMPAIGN_STEPS: Final = ("scheduled", "unscheduled", "started", "paused", "resumed", "cancelled", "resent", "finished")
EVENTS: Final = (
    *(f"delivery.{state}" for state in DELIVERY_STATES),
    *(f"campaign.{step}" for step in CAMPAIGN_STEPS),
    "message.received",
    "account.changed",
    "recipient.unsubscribed",
    "recipient.resubscribed",
)
_ALL = "*"


def _known(pattern: str) -> str:
    if not any(hears([pattern], each) for each in EVENTS):
        raise ValueError("There is no such event.")
    return pattern


Pattern = Annotated[
    str,
    StringConstraints(max_length=60),
    AfterValidator(_known),
    Field(description=f"An event, `*`, or all that begin alike: `delivery.*`. There are: {', '.join(EVENTS)}."),
]
CategoryName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


def hears(patterns: Sequence[str], event: str) -> bool:
    """Whether one of these patterns means this event: its name, `*`, or its beginning as `delivery.*`."""
    family = event.partition(".")[0]
    return any(pattern in (event, f"{family}.{_ALL}", _ALL) for pattern in patterns)


def body_of(variables: dict[str, Any]) -> dict[str, Any]:
    """In the order in which people read it; the database keeps none."""
    return {name: variables[name] for name in ("type", "timestamp", "data")}
