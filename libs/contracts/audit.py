"""What other services tell the audit log, which auth keeps."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import Field

from libs.contracts.events import EventData

Short = Annotated[str, Field(max_length=500)]
Detail = str | int | bool | None | list[str]


class Audited(EventData):
    """`action` is `noun.verb`, as `member.removed`; `actor_id` acted, `subject_id` is whom it concerns. Never a secret,
    nor what somebody wrote."""

    type: ClassVar[str] = "Audited"
    action: Annotated[str, Field(pattern=r"^[a-z_]+\.[a-z_]+$", max_length=100)]
    result: Literal["ok", "refused"] = "ok"
    reason: Short | None = None
    actor_id: UUID | None = None
    subject_id: UUID | None = None
    session_id: UUID | None = None
    ip: Short | None = None
    country: Short | None = None
    user_agent: Short | None = None
    request_id: Short | None = None
    data: Mapping[str, Detail] = Field(default_factory=dict)
