"""Audiences: who shall get something, put together before it is sent."""

import re
from typing import Annotated, Any, cast
from uuid import UUID

from fastapi import APIRouter, Query, Request

from libs.deps import Db, Now
from libs.errors import UnsupportedMediaType
from libs.idempotency import OnceOnly
from libs.paging import Page, PageRequest, keyset
from notify_service.deps import ADMIN, MaySend, Outside, Paging
from notify_service.domain import audiences
from notify_service.domain.reaching import To
from notify_service.routes.bodies import Incoming
from notify_service.schemas.audiences import Audience, AudienceCreate, Member, Problem, RecipientsAdd, Report
from notify_service.schemas.deliveries import Address

router = APIRouter(prefix="/api/v1/audiences", tags=["audiences"])

_SHOWN_PROBLEMS = 100
_CSV = re.compile(r'text/csv(?:\s*;\s*(?:charset="?utf-?8"?|header="?present"?))*\s*', re.IGNORECASE)
_BODY = {"required": True, "content": {"text/csv": {"schema": {"type": "string"}}}}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    413: {"description": "The file has more than 64 MiB."},
    415: {"description": "The file is not `text/csv` in UTF-8."},
    422: {"description": "The file cannot be used (`unusable_file`); `errors` names the line. Nothing was changed."},
    429: {"description": "Too many uploads at once (`too_many_uploads`)."},
}


@router.get("", response_model=Page[Audience])
async def list_audiences(db: Db, me: MaySend, paging: Paging) -> Page[Any]:
    """Yours, newest first; administrators see everybody's."""
    rows = await audiences.page(db, _seen_by(me), before=paging.id, limit=paging.paging.limit)
    return paging.paging.page(rows, lambda row: (str(row.id),))


@router.post("", status_code=201)
async def create_audience(body: AudienceCreate, db: Db, *, me: MaySend, clock: Now, once: OnceOnly) -> Audience:
    """Makes one with nobody in it."""

    async def make() -> Audience:
        made = await audiences.create(db, owner=str(me.user_id), name=body.name, channel=body.channel, now=clock.now())
        return Audience.model_validate(made)

    return await once(body, make, Audience)


@router.get("/{audience_id:uuid}")
async def read_audience(audience_id: UUID, db: Db, me: MaySend) -> Audience:
    """What was given so far, and how many of it can be reached."""
    return Audience.model_validate(await audiences.one(db, _seen_by(me), audience_id))


@router.delete("/{audience_id:uuid}", status_code=204)
async def delete_audience(audience_id: UUID, db: Db, me: MaySend) -> None:
    """Removes it, with its members."""
    await audiences.remove(db, _seen_by(me), audience_id)


@router.post("/{audience_id:uuid}/recipients")
async def add_recipients(
    audience_id: UUID, body: RecipientsAdd, db: Db, *, me: MaySend, clock: Now, once: OnceOnly, outside: Outside
) -> Report:
    """Adds up to ten thousand. Who cannot be reached is reported and left out, and so is who is there already."""

    async def make() -> Report:
        to = [To(address=each.address, user_id=each.user, variables=each.variables) for each in body.to]
        report = await audiences.add(db, _seen_by(me), audience_id, to=to, ask=outside.ask, now=clock.now())
        return _report(report)

    return await once(body, make, Report)


@router.put("/{audience_id:uuid}/file", openapi_extra={"requestBody": _BODY}, responses=_REFUSALS)
async def replace_recipients(audience_id: UUID, request: Request, db: Db, *, me: MaySend, clock: Now) -> Report:
    """Takes a file of comma-separated values, of up to 200,000 rows, in the place of all that was there. The first
    line names the columns: one is `address` (or `email`, `phone`, `phone_number`, `recipient`), the others are
    variables. Rows that are wrong are reported and left out; if the upload breaks off, the audience stays as it was."""
    if not _CSV.fullmatch(request.headers.get("content-type", "")):
        raise UnsupportedMediaType("Send a file of comma-separated values in UTF-8, with the content type text/csv.")
    async with cast(Incoming, request.app.state.incoming).file(request) as file:
        return _report(await audiences.replace(db, _seen_by(me), audience_id, file=file, now=clock.now()))


@router.get("/{audience_id:uuid}/problems", response_model=Page[Problem])
async def list_problems(
    audience_id: UUID, db: Db, *, me: MaySend, paging: Annotated[PageRequest, keyset(int, str)]
) -> Page[Any]:
    """What was wrong with what was given, by lines: the first thousand."""
    audience = await audiences.one(db, _seen_by(me), audience_id)
    rows = await audiences.problems(db, audience, after=paging.key or (0, ""), limit=paging.limit)
    return paging.page(rows, lambda row: (row.line, row.field))


@router.get("/{audience_id:uuid}/members", response_model=Page[Member])
async def list_members(
    audience_id: UUID,
    db: Db,
    *,
    me: MaySend,
    paging: Annotated[PageRequest, keyset(int)],
    address: Annotated[Address | None, Query(description="This one alone, in whatever form it is written.")] = None,
) -> Page[Any]:
    """Who is in it, in the order in which they were given."""
    audience = await audiences.one(db, _seen_by(me), audience_id)
    rows = await audiences.members(db, audience, after=paging.last or 0, limit=paging.limit, address=address)
    return paging.page(rows, lambda row: (row.position,))


def _seen_by(me: MaySend) -> audiences.Visible:
    return audiences.visible_to(me.user_id, everything=ADMIN in me.roles)


def _report(made: audiences.Report) -> Report:
    found = [Problem.model_validate(each) for each in made.problems[:_SHOWN_PROBLEMS]]
    return Report(audience=Audience.model_validate(made.audience), problems=found)
