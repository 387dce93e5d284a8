"""Aware time. Code takes a `Clock`, so that a test can stand at the far side of a window without waiting for it."""

import time
from datetime import UTC, datetime


class Clock:
    """The time in UTC."""

    def seconds(self) -> float:
        """Seconds since 1970; the cheap form for hot paths."""
        return time.time()

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds(), UTC)

    def ms(self) -> int:
        """Milliseconds since 1970, the unit of revocation epochs."""
        return int(self.seconds() * 1000)


def rfc3339(moment: datetime) -> str:
    """UTC with `Z`; fractional seconds only when they are not zero."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
