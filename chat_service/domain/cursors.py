"""What stands in cursors: times in microseconds, ids as text."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from chat_service.errors import invalid

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def us(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_us(us: int) -> datetime:
    """Raises Invalid."""
    try:
        return _EPOCH + timedelta(microseconds=us)
    except OverflowError:
        raise invalid("cursor", "This cursor is not valid.") from None


def uuid_in(cursor: str) -> UUID:
    """Raises Invalid."""
    try:
        return UUID(cursor)
    except ValueError:
        raise invalid("cursor", "This cursor is not valid.") from None
