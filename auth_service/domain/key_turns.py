"""Keys of access tokens take turns by themselves: next, active, retiring, gone."""

from datetime import timedelta

import structlog
from prometheus_client import Gauge
from sqlalchemy import text

from auth_service.domain import audit
from auth_service.domain.audit import Entry
from auth_service.domain.clients import NOBODY
from libs.clock import Clock
from libs.csrf import CSRF_SECONDS
from libs.db import Database
from libs.keys import USER, KeyRing, Turn

AGE = Gauge("parley_signing_key_age_seconds", "For how long the key that signs access tokens has been signing.")
# What lives longest of what such a key signs is the token against requests of other sites. And a minute, in which a
# process may still sign with it, or have a slow clock.
KEPT_SECONDS = CSRF_SECONDS + 60
# Much longer than public keys are cached, or a file is on its way to another machine.
_KNOWN_SECONDS = 86_400
_ADVICE = (
    "This worker cannot write the key ring. Rotate where the ring is made, with `auth rotate-keys`, and hand it out;"
    " AUTH_KEY_ROTATION_DAYS=0 says that this is meant."
)
_ONE_TURNS = text("SELECT pg_try_advisory_xact_lock(5071885)")

log = structlog.get_logger()


class KeyTurns:
    """The worker's part. `days`: how long a key signs; 0: until somebody rotates it by hand."""

    def __init__(self, database: Database, ring: KeyRing, clock: Clock, *, days: int) -> None:
        self._database = database
        self._ring = ring
        self._clock = clock
        signs = int(timedelta(days=days).total_seconds())
        self._turn = Turn(known=_KNOWN_SECONDS, signs=signs, kept=KEPT_SECONDS) if days else None
        self._told = False

    async def look(self) -> None:
        """A ring that this process cannot write stays as it is, which the log says once."""
        now = int(self._clock.seconds())
        for key in self._ring.all():
            if key.owner == USER and key.state == "active":
                AGE.set(now - key.since)
        if self._turn is None or not self._is_able():
            return
        if self._ring.is_due(USER, self._turn, now=now):
            await self._take_turns(self._turn, now)

    async def _take_turns(self, turn: Turn, now: int) -> None:
        async with self._database.transaction() as db:
            # Of several workers one; whoever comes later finds nothing due.
            if not await db.scalar(_ONE_TURNS) or not self._ring.take_turns(USER, turn, now=now):
                return
            kid = self._ring.signing_key(USER).kid
            entry = Entry(action="signing_key.rotated", data={"kid": kid, "by": "worker"})
            await audit.record(db, entry, NOBODY, now=self._clock.now())
        log.info("signing_key_rotated", kid=kid)

    def _is_able(self) -> bool:
        try:
            self._ring.signing_key(USER)
            self._ring.require_writable()
        except (LookupError, OSError) as error:
            if not self._told:
                log.warning("signing_keys_do_not_rotate", reason=str(error), advice=_ADVICE)
            self._told = True
            return False
        return True
