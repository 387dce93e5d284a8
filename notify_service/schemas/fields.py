from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, StringConstraints


def _within_reach(moment: datetime) -> datetime:
    # At the ends of the calendar another offset, or some seconds more, is a date that does not exist.
    if not 1970 <= moment.year <= 2999:
        raise ValueError("A time lies between 1970 and 2999.")
    return moment


Instant = Annotated[AwareDatetime, AfterValidator(_within_reach)]
Category = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
ChannelName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
AccountName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
