"""Campaigns that somebody watches."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from libs.clock import Clock
from libs.db import Database, is_unavailable
from libs.errors import NotFound, Unavailable
from notify_service.domain import campaigns, forecasts
from notify_service.domain.campaign_states import CANCELLED, FINISHED
from notify_service.domain.forecasts import ChannelOf

_MOST = 200
_LOOK_SECONDS = 1.0
# Shorter than the silence that anything on the way takes for a dead connection.
_SILENCE_SECONDS = 15.0
# Then who watches comes back, with a token that is looked at anew.
_LONGEST_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Standing:
    state: str
    fault: str | None
    total: int
    counts: Mapping[str, int]
    rate: float
    eta_seconds: float | None


class Following:
    """Looks once a second for each who watches, and says what has changed."""

    def __init__(self, database: Database, channel_of: ChannelOf, clock: Clock) -> None:
        self._database = database
        self._channel_of = channel_of
        self._clock = clock
        self._watching = 0

    def follow(self, owner: str, campaign_id: UUID) -> AsyncIterator[Standing | None]:
        """Until the campaign is over, or for some minutes; None now and then where nothing changes. Raises
        Unavailable."""
        if self._watching >= _MOST:
            raise Unavailable("Too many watch campaigns here already.", retry_after=10)
        return self._changes(owner, campaign_id)

    async def _changes(self, owner: str, campaign_id: UUID) -> AsyncIterator[Standing | None]:
        self._watching += 1
        try:
            last: Standing | None = None
            end = time.monotonic() + _LONGEST_SECONDS
            said = 0.0
            while time.monotonic() < end:
                standing = await self._look(owner, campaign_id)
                if standing != last or time.monotonic() - said > _SILENCE_SECONDS:
                    yield standing if standing != last else None
                    last, said = standing, time.monotonic()
                if standing is None or standing.state in (FINISHED, CANCELLED):
                    return
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            self._watching -= 1

    async def _look(self, owner: str, campaign_id: UUID) -> Standing | None:
        """None: it is gone, or cannot be seen now."""
        try:
            async with self._database.transaction() as db:
                found = await campaigns.one(db, owner, campaign_id)
                eta = await forecasts.eta(db, found, self._channel_of, self._clock.now())
        except NotFound:
            return None
        except (SQLAlchemyError, OSError) as error:
            if not is_unavailable(error):
                raise
            return None
        return Standing(found.state, found.fault, found.total, found.counts, round(found.rate, 2), eta)
