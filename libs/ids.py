"""UUIDv7 (RFC 9562). PostgreSQL makes them from version 18 on only, so the application does."""

import os
import threading
import time
import uuid

_lock = threading.Lock()
_last = 0


def uuid7() -> uuid.UUID:
    """Time-ordered id: 48 bits of milliseconds, then a counter that keeps ids of one process increasing.

    The counter is the 12 bits after the version; when the clock stands still or steps back it carries into the
    milliseconds (RFC 9562, section 6.2, method 1), so that order never reverses within a process.
    """
    global _last  # noqa: PLW0603  -- one counter a process is the point
    with _lock:
        _last = max((time.time_ns() // 1_000_000) << 12, _last + 1)
        stamp = _last
    tail = int.from_bytes(os.urandom(8), "big") & 0x3FFF_FFFF_FFFF_FFFF
    value = (stamp >> 12) << 80 | 0x7 << 76 | (stamp & 0xFFF) << 64 | 0b10 << 62 | tail
    return uuid.UUID(int=value)
