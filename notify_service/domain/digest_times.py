"""For how long messages are collected. Pure."""

from datetime import datetime, time, timedelta
from typing import Annotated, Literal, get_args

from pydantic import Field

from notify_service.domain.content import Part
from notify_service.domain.quiet import instant, zone_of

Seconds = Annotated[int, Field(ge=1, le=7 * 86_400)]
Clock = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", examples=["08:00"])]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_WEEK: tuple[str, ...] = get_args(Weekday)


class Fixed(Part):
    """So long from the first message on."""

    kind: Literal["fixed"]
    seconds: Seconds

    def closes(self, now: datetime, timezone: str) -> datetime:
        del timezone
        return now + timedelta(seconds=self.seconds)


class LookBack(Part):
    """The first message goes at once, and those that follow within so long are collected; and so on, until nothing
    has come for so long."""

    kind: Literal["look_back"]
    seconds: Seconds

    def closes(self, now: datetime, timezone: str) -> datetime:
        del timezone
        return now + timedelta(seconds=self.seconds)


class Daily(Part):
    """Until the clock of the reader's place shows this next."""

    kind: Literal["daily"]
    at: Clock

    def closes(self, now: datetime, timezone: str) -> datetime:
        return _next(now, self.at, timezone, frozenset(range(7)))


class Weekly(Part):
    """Until it does so on this day of the week."""

    kind: Literal["weekly"]
    at: Clock
    weekday: Weekday

    def closes(self, now: datetime, timezone: str) -> datetime:
        return _next(now, self.at, timezone, frozenset({_WEEK.index(self.weekday)}))


Window = Annotated[Fixed | LookBack | Daily | Weekly, Field(discriminator="kind")]


def _next(now: datetime, at: str, timezone: str, weekdays: frozenset[int]) -> datetime:
    """The next moment at which the clock shows `at`, as `quiet.instant` has it: the first time where it does so twice,
    and the moment at which it is put forward where it never does."""
    zone = zone_of(timezone)
    today = now.astimezone(zone).date()
    # A day more than a week: this hour may have passed today.
    days = (today + timedelta(days=ahead) for ahead in range(9))
    moments = (instant(day, time.fromisoformat(at), zone) for day in days if day.weekday() in weekdays)
    return next(moment for moment in moments if moment > now)
