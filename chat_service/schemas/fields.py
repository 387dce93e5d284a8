"""Fields that more than one shape has."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from libs.shapes import Text

MAX_SEQ = 1 << 62
Seq = Annotated[int, Field(ge=0, lt=MAX_SEQ)]
Name = Annotated[Text, Field(max_length=200)]
Description = Annotated[Text, Field(max_length=2000)]
Role = Literal["owner", "admin", "moderator", "member", "guest", "read_only"]
ConversationType = Literal["direct", "group", "channel"]
Status = Literal["active", "archived", "closed"]
History = Literal["all", "since_joining"]
SlowSeconds = Annotated[int, Field(ge=0, le=21_600, strict=True)]
# What neither a calendar nor a database stumbles over.
When = Annotated[AwareDatetime, Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(2200, 1, 1, tzinfo=UTC))]
Notify = Literal["all", "mentions", "none"]
ImageUrl = Annotated[Text, Field(max_length=2000, pattern=r"^https?://[^\s<>\"\\^`{|}]+$")]
MAX_PARTICIPANTS = 1000
