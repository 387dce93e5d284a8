"""The audit log as it is shown."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field

from auth_service.domain.chain import Verdict
from auth_service.domain.sessions import coarse
from auth_service.models import AuditEvent
from libs.shapes import Moment, Resource, Text

Word = Annotated[Text, Field(max_length=100)]


class AuditQuery(BaseModel):
    """Filters; all that are given must hold."""

    action: Word | None = Field(None, description="As `session.started`.")
    result: Literal["ok", "refused"] | None = None
    service: Word | None = None
    actor: UUID | None = Field(None, description="Who acted.")
    subject: UUID | None = Field(None, description="Whom it concerns.")
    ip: Word | None = None


class AuditRow(Resource):
    """One entry. `position` and `hash` are null until it is sealed, within seconds."""

    id: int
    at: Moment
    service: str
    action: str
    result: str
    reason: str | None
    actor_id: UUID | None
    subject_id: UUID | None
    session_id: UUID | None
    ip: str | None
    country: str | None
    user_agent: str | None
    request_id: str | None
    data: dict[str, Any]
    position: int | None
    hash: str | None

    @classmethod
    def of(cls, row: AuditEvent) -> Self:
        values = {name: getattr(row, name) for name in cls.model_fields if name != "hash"}
        return cls(**values, hash=row.hash.hex() if row.hash else None)


class OwnAuditRow(BaseModel):
    """What happened to one's own account. `by` says who did it; of others than oneself no address is shown."""

    id: int
    at: Moment
    action: str
    result: str
    by: Literal["you", "staff", "system"]
    ip: str | None
    country: str | None
    user_agent: str | None

    @classmethod
    def of(cls, row: AuditEvent, user_id: UUID) -> Self:
        by: Literal["you", "staff", "system"] = "system" if row.actor_id is None else "staff"
        if row.actor_id == user_id:
            by = "you"
        foreign = by == "staff"
        return cls(
            id=row.id,
            at=row.at,
            action=row.action,
            result=row.result,
            by=by,
            ip=None if foreign else coarse(row.ip),
            country=None if foreign else row.country,
            user_agent=None if foreign else row.user_agent,
        )


class ChainEnd(BaseModel):
    position: int
    hash: str


class FirstBad(BaseModel):
    """`id` is null where the row is missing."""

    position: int
    id: int | None
    problem: Literal["changed", "missing", "inserted"]


class AuditVerdict(BaseModel):
    """`end` is the last row that is as it was sealed. `continue_after` is set when there are more rows to check."""

    intact: bool
    checked: int
    end: ChainEnd
    first_bad: FirstBad | None
    continue_after: int | None

    @classmethod
    def of(cls, verdict: Verdict) -> Self:
        broken = verdict.broken
        return cls(
            intact=broken is None,
            checked=verdict.checked,
            end=ChainEnd(position=verdict.end.position, hash=verdict.end.hash.hex()),
            first_bad=FirstBad(position=broken.position, id=broken.row, problem=broken.problem) if broken else None,
            continue_after=verdict.after,
        )
