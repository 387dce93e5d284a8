"""Files that people have sent to an account: for who may see accounts, and never shown by a browser."""

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Response

from libs import filenames, filetypes
from libs.deps import Db
from libs.paging import Page
from libs.shapes import Text
from notify_service.deps import Admin, Paging
from notify_service.domain import media
from notify_service.schemas.media import File

router = APIRouter(prefix="/api/v1/accounts/{name}/threads/{peer_id}/media", tags=["accounts"])
Name = Annotated[Text, Path(max_length=40)]
Peer = Annotated[Text, Path(max_length=400)]
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-site",
    "Cache-Control": "private, no-store",
}
_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}, "description": "The file."}
}


@router.get("", response_model=Page[File])
async def list_files(name: Name, peer_id: Peer, db: Db, *, _me: Admin, paging: Paging) -> Page[Any]:
    """What somebody has sent, newest first, with what became of fetching it."""
    rows = await media.page(db, name, peer_id, before=paging.id, limit=paging.paging.limit)
    shown = paging.paging.page(rows, lambda each: (str(each.row.id),))
    return Page(results=[_file(each) for each in shown.results], next=shown.next, previous=shown.previous)


@router.get("/{media_id:uuid}", response_class=Response, responses=_CONTENT)
async def download_file(name: Name, peer_id: Peer, media_id: UUID, db: Db, _me: Admin) -> Response:
    """The content, to be saved."""
    found, content = await media.read(db, name, peer_id, media_id)
    kind = found.type or ""
    named = filenames.clean(_file(found).name, filetypes.FileType(kind).endings)
    headers = {"Content-Type": kind, "Content-Disposition": filenames.disposition("attachment", named)}
    return Response(content, headers={**_HEADERS, **headers})


def _file(found: media.File) -> File:
    row = found.row
    state: Literal["waiting", "here", "gone"] = "waiting"
    if row.next_at is None:
        state = "here" if row.sha256 else "gone"
    return File(
        id=row.id,
        message_id=row.message_id,
        kind=str(row.item.get("kind", "file")),
        name=filenames.clean(str(row.item.get("filename", ""))),
        state=state,
        reason=row.reason,
        type=found.type,
        size=found.size,
        sha256=row.sha256,
        created_at=row.created_at,
    )
