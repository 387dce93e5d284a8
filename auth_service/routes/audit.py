"""The audit log."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from auth_service.deps import Permitted, Tools
from auth_service.domain import chain, trail
from auth_service.domain.chain import Link
from auth_service.domain.roles import Staff
from auth_service.domain.trail import Wanted
from auth_service.schemas.audit import AuditQuery, AuditRow, AuditVerdict, OwnAuditRow
from auth_service.schemas.fields import Instant
from libs.auth import CurrentUser
from libs.deps import Db, Now, made
from libs.errors import FieldError, Invalid
from libs.paging import Page, PageRequest, keyset

router = APIRouter(tags=["audit"])
Paging = Annotated[PageRequest, keyset(int)]
Auditor = Annotated[Staff, Depends(Permitted("audit.read"))]
Position = Annotated[int, Query(ge=0, lt=1 << 62)]


async def _anchor(
    anchor_position: Position | None = None,
    anchor_hash: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$")] = None,
) -> Link | None:
    """A line `audit_head` that the worker has logged."""
    if (anchor_position is None) != (anchor_hash is None):
        raise Invalid(errors=[FieldError("anchor_hash", "Give the position and the hash, or neither.")])
    return Link(anchor_position or 0, bytes.fromhex(anchor_hash)) if anchor_hash else None


@router.get("/api/v1/admin/auth/audit")
async def search_audit(
    *,
    _staff: Auditor,
    db: Db,
    paging: Paging,
    filters: Annotated[AuditQuery, made(AuditQuery)],
    since: Annotated[Instant | None, Query(alias="from")] = None,
    until: Annotated[Instant | None, Query(alias="to")] = None,
) -> Page[AuditRow]:
    """Who did what to whom, the newest first."""
    wanted = Wanted(
        action=filters.action,
        result=filters.result,
        service=filters.service,
        actor_id=filters.actor,
        subject_id=filters.subject,
        ip=filters.ip,
        since=since,
        until=until,
    )
    rows = await trail.search(db, wanted, before=paging.last, limit=paging.limit)
    return paging.page([AuditRow.of(row) for row in rows], key=lambda row: (row.id,))


@router.get("/api/v1/admin/auth/audit/verify")
async def verify_audit(
    _staff: Auditor, kit: Tools, anchor: Annotated[Link | None, Depends(_anchor)], after: Position = 0
) -> AuditVerdict:
    """Computes the chain of hashes again and names the first row that was changed, removed or slipped in.

    Checks up to 100,000 rows; `continue_after` is the `after` of the next call. An end that was cut off shows only
    beside an `audit_head` that was written down: give its position and hash.
    """
    return AuditVerdict.of(await chain.verify(kit.database, after=after, anchor=anchor))


@router.get("/api/v1/users/me/audit")
async def read_own_audit(me: CurrentUser, db: Db, clock: Now, paging: Paging) -> Page[OwnAuditRow]:
    """What happened to one's own account in the last 90 days, the newest first."""
    rows = await trail.own(db, me.user_id, now=clock.now(), before=paging.last, limit=paging.limit)
    return paging.page([OwnAuditRow.of(row, me.user_id) for row in rows], key=lambda row: (row.id,))
