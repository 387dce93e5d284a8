"""Files: uploaded first, then shown by a message, and handed out to whoever may see this message."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import structlog
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from chat_service.deps import Context
from chat_service.domain import attachments, uploads
from chat_service.domain.pictures import THUMBNAIL_TYPE
from chat_service.errors import NoAttachment
from chat_service.routes import ranges
from chat_service.routes.bodies import file_of
from chat_service.schemas.attachments import Upload, Uploads
from libs import filenames
from libs.auth import CurrentUser
from libs.deps import Db, Now
from libs.filetypes import IMAGES
from libs.paging import PageRequest, keyset

log = structlog.get_logger()
router = APIRouter(prefix="/api/v1", tags=["attachments"])

# Shown where it is asked for; everything else is saved. Nothing that can hold a script is among them.
_INLINE = (*IMAGES, "audio/", "video/")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"
    ),
    "Cross-Origin-Resource-Policy": "same-site",
    # Kept by the browser of this person alone, and asked for again each time: who was removed sees it no more.
    "Cache-Control": "private, no-cache",
    "Accept-Ranges": "bytes",
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {"type": "object", "required": ["file"], "properties": {"file": _BINARY["schema"]}}
        },
        "*/*": _BINARY,
    },
}
_UPLOAD_REFUSALS: dict[int | str, dict[str, Any]] = {
    409: {"description": "Your files take up as much as they may (`quota_exceeded`)."},
    413: {"description": "The file is too large (`too_large`)."},
    415: {"description": "Files of this type are not accepted (`unsupported_type`)."},
    429: {"description": "Too many uploads at once."},
    503: {"description": "Files cannot be stored now (`store_unavailable`)."},
}
_DOWNLOADS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"*/*": _BINARY}, "description": "The file."},
    206: {"content": {"*/*": _BINARY}, "description": "The part of the file that `Range` asked for."},
    304: {"description": "It is the one that `If-None-Match` names."},
    416: {"description": "The range begins behind the end of the file."},
}


@router.post("/attachments", status_code=201, responses=_UPLOAD_REFUSALS, openapi_extra={"requestBody": _BODY})
async def upload_attachment(
    request: Request,
    me: CurrentUser,
    context: Context,
    name: Annotated[str | None, Query(max_length=1000, description="Of a file that is the body itself.")] = None,
) -> Upload:
    """Takes a file: as the part `file` of a form, or as the body. What it is, its bytes say. Pictures lose what is
    hidden in them (place, device, comments). A message has to show it within a day, or it is thrown away."""
    files = context.files
    with files.turn(me.user_id):
        incoming = await file_of(request, name)
        row = await uploads.receive(files, me.user_id, incoming, now=context.clock.now())
    return _upload(row, files)


@router.get("/attachments")
async def list_unused_attachments(
    me: CurrentUser, db: Db, context: Context, wanted: Annotated[PageRequest, keyset(UUID)]
) -> Uploads:
    """Own files that no message shows yet, newest first, and how much room all of one's files take up."""
    rows = await attachments.unused(db, me.user_id, before=wanted.last, limit=wanted.limit + 1)
    usage = await attachments.usage(db, me.user_id, context.files.limits.quota)
    page = wanted.page(rows, lambda row: (row["id"],))
    results = [_upload(row, context.files) for row in page.results]
    return Uploads(results=results, next=page.next, used_bytes=usage.used, quota_bytes=usage.quota)


@router.head("/attachments/{attachment_id}", include_in_schema=False)
@router.get("/attachments/{attachment_id}", response_class=StreamingResponse, responses=_DOWNLOADS)
async def download_attachment(attachment_id: UUID, request: Request, me: CurrentUser, context: Context) -> Response:
    """The file, for its owner while no message shows it, then for those who may see this message at this moment.
    Answers ranges and `If-None-Match`."""
    row = await attachments.visible(context.lanes, me.user_id, attachment_id)
    content_type = row["content_type"]
    how = "inline" if content_type.startswith(_INLINE) else "attachment"
    shown = f"{content_type}; charset=utf-8" if content_type == "text/plain" else content_type
    headers = {"Content-Type": shown, "Content-Disposition": filenames.disposition(how, row["name"])}
    return await _answer(request, context.files, row["store_key"], size=row["size"], tag=f'"{row["id"]}"', own=headers)


@router.head("/attachments/{attachment_id}/thumbnail", include_in_schema=False)
@router.get("/attachments/{attachment_id}/thumbnail", response_class=StreamingResponse, responses=_DOWNLOADS)
async def download_thumbnail(attachment_id: UUID, request: Request, me: CurrentUser, context: Context) -> Response:
    """A picture at no more than 512 x 512 pixels, upright, as WebP. 404 for files that are no pictures."""
    row = await attachments.visible(context.lanes, me.user_id, attachment_id)
    if row["thumbnail_key"] is None:
        raise NoAttachment
    tag = f'"{row["id"]}-small"'
    headers = {**_HEADERS, "Content-Type": THUMBNAIL_TYPE, "Content-Disposition": "inline", "ETag": tag}
    if ranges.unchanged(request.headers, tag):
        return Response(status_code=304, headers=headers)
    try:
        return Response(await context.files.store.read(row["thumbnail_key"]), headers=headers)
    except FileNotFoundError:
        raise _lost(attachment_id) from None


@router.delete("/attachments/{attachment_id}", status_code=204)
async def delete_attachment(attachment_id: UUID, me: CurrentUser, db: Db, now: Now) -> None:
    """Takes an own file away that no message shows. One that a message shows goes with the message."""
    await attachments.remove(db, me.user_id, attachment_id, now=now.now())


async def _answer(
    request: Request, files: uploads.Files, key: str, *, size: int, tag: str, own: dict[str, str]
) -> Response:
    headers = {**_HEADERS, **own, "ETag": tag}
    if ranges.unchanged(request.headers, tag):
        return Response(status_code=304, headers=headers)
    try:
        part = ranges.wanted(request.headers, size=size, tag=tag)
    except ranges.Unsatisfiable:
        return Response(status_code=416, headers={**_HEADERS, "Content-Range": f"bytes */{size}"})
    start, end = part or (0, size)
    headers["Content-Length"] = str(end - start)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    status = 206 if part is not None else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    try:
        return StreamingResponse(await _begun(files, key, start, end), status, headers)
    except FileNotFoundError:
        raise _lost(tag) from None


async def _begun(files: uploads.Files, key: str, start: int, end: int) -> AsyncIterator[bytes]:
    """With its first block read: what is wrong with the store is said while something can be said."""
    blocks = files.store.get(key, start, end)
    first = await anext(blocks)

    async def all_of_them() -> AsyncIterator[bytes]:
        yield first
        async for block in blocks:
            yield block

    return all_of_them()


def _lost(which: object) -> NoAttachment:
    log.error("bytes_of_a_file_are_missing", attachment=str(which))
    return NoAttachment()


def _upload(row: attachments.Row, files: uploads.Files) -> Upload:
    until = row["created_at"] + timedelta(hours=files.limits.unused_hours)
    return Upload(**attachments.shown(row), created_at=row["created_at"], expires_at=until)
