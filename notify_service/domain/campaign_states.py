"""The life of a campaign. Pure.

    draft ──schedule──> scheduled ──start──> running ──finish──> finished
      │  <─unschedule──                      │  ^  ^                │
      └───────────────start──────────────────┘  │  └────resend──────┘
                                           pause, resume

What is scheduled, running or paused can be cancelled, for good. Who takes a step holds the campaign's row: of two who
want the same, one finds that it is done.
"""

from typing import Final

from notify_service.errors import IllegalTransition

DRAFT: Final = "draft"
SCHEDULED: Final = "scheduled"
RUNNING: Final = "running"
PAUSED: Final = "paused"
CANCELLED: Final = "cancelled"
FINISHED: Final = "finished"
UNDER_WAY: Final = (SCHEDULED, RUNNING, PAUSED)

# Each step with where it leads, and from where it may be taken.
_STEPS: Final = {
    "schedule": (SCHEDULED, {DRAFT}),
    "unschedule": (DRAFT, {SCHEDULED}),
    "start": (RUNNING, {DRAFT, SCHEDULED}),
    "pause": (PAUSED, {RUNNING}),
    "resume": (RUNNING, {PAUSED}),
    "cancel": (CANCELLED, {SCHEDULED, RUNNING, PAUSED}),
    "finish": (FINISHED, {RUNNING}),
    "resend": (RUNNING, {RUNNING, FINISHED}),
}


def after(state: str, step: str) -> str:
    """The state that the step leads to. Raises IllegalTransition where it cannot be taken."""
    aim, froms = _STEPS[step]
    if state not in froms:
        raise IllegalTransition(state, aim)
    return aim
