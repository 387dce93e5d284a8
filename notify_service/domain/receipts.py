"""What a receipt makes of a delivery. Pure, and the same in whatever order and however often receipts come."""

from dataclasses import dataclass, replace
from datetime import datetime

from notify_service.domain.channels import ErrorClass
from notify_service.domain.channels.inbound import DELIVERED, FAILED, READ, SENT

# How far a message has come. A failure stands above what was only handed over, and below what has arrived: with several
# devices one may fail while another has it.
_RANK = {
    "queued": 0,
    "retry": 0,
    "unknown": 0,
    "dead": 0,
    "expired": 0,
    "suppressed": 0,
    "cancelled": 0,
    SENT: 1,
    FAILED: 2,
    DELIVERED: 3,
    READ: 4,
}


@dataclass(frozen=True, slots=True)
class Standing:
    """Of a delivery, as far as receipts change it."""

    state: str
    sent_at: datetime | None = None
    delivered_at: datetime | None = None
    read_at: datetime | None = None
    reason: str | None = None
    error_class: str | None = None
    error_code: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    state: str
    at: datetime
    error: ErrorClass | None = None
    code: str | None = None


def merged(old: Standing, receipt: Receipt) -> Standing:
    """What was read was delivered, and what was delivered was sent, whether or not anybody said so. Of several times
    the earliest counts; of several failures the one whose code comes first."""
    old = _timed(old, receipt)
    ranks = _RANK.get(old.state, 0), _RANK[receipt.state]
    if ranks[1] < ranks[0] or (ranks[1] == ranks[0] and receipt.state != FAILED):
        return old
    if receipt.state != FAILED:
        return replace(old, state=receipt.state, reason=None, error_class=None, error_code=None)
    if old.state == FAILED and (old.error_code or "") <= (receipt.code or ""):
        return old
    reason = "window_closed" if receipt.error is ErrorClass.WINDOW else "refused"
    error = receipt.error or ErrorClass.PERMANENT
    return replace(old, state=FAILED, reason=reason, error_class=str(error), error_code=receipt.code)


def _timed(old: Standing, receipt: Receipt) -> Standing:
    reached = _RANK[receipt.state] if receipt.state != FAILED else _RANK[SENT]
    return replace(
        old,
        sent_at=_earlier(old.sent_at, receipt.at),
        delivered_at=_earlier(old.delivered_at, receipt.at) if reached >= _RANK[DELIVERED] else old.delivered_at,
        read_at=_earlier(old.read_at, receipt.at) if reached >= _RANK[READ] else old.read_at,
    )


def _earlier(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else min(one, other)
