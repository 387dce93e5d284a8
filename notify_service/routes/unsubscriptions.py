"""Where the links of mails and texts lead: `/u/{token}`. The link is the credential; there are no tokens here."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from libs.deps import Db, Now
from libs.errors import BadRequest, NotFound
from notify_service.deps import WaysOut, body_of
from notify_service.domain import unsubscribe_page as page
from notify_service.domain import unsubscriptions
from notify_service.domain.templates import languages
from notify_service.domain.unsubscriptions import Switch

router = APIRouter(prefix="/u", include_in_schema=False)
_MOST_BYTES = 64 * 1024
_MOST_FIELDS = 1000
# RFC 8058. Mail programs send it by themselves, and so does the button of the page.
_ONE_CLICK = ("List-Unsubscribe", "One-Click")
Fields = list[tuple[str, str]]


async def _fields(request: Request) -> Fields:
    """Of the form, in either of the two ways in which programs send it."""
    body = await body_of(request, _MOST_BYTES)

    async def again() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        async with Request(request.scope, again).form(max_files=0, max_fields=_MOST_FIELDS) as form:
            return [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    except HTTPException:
        raise BadRequest from None


Form = Annotated[Fields, Depends(_fields)]


@router.get("/style.css")
async def read_style() -> Response:
    """The looks of the page."""
    return Response(page.STYLE, media_type="text/css", headers={"Cache-Control": "public, max-age=3600"})


@router.api_route("/{token}", methods=["GET", "HEAD"])
async def read_choices(token: str, request: Request, db: Db, *, links: WaysOut, clock: Now) -> HTMLResponse:
    """What the reader gets, to choose from. Changes nothing: scanners and mail programs open every link."""
    now = clock.now()
    try:
        reader = links.read(token, now)
        language = await unsubscriptions.language_of(db, reader)
    except NotFound:
        return _lost(request)
    found = await unsubscriptions.choices(db, reader, now)
    return HTMLResponse(page.choices(_language(request, language), reader, found))


@router.post("/{token}")
async def change_choices(
    token: str, request: Request, db: Db, *, links: WaysOut, clock: Now, fields: Form
) -> HTMLResponse:
    """Ends the category of the link by one click, or sets what the form of the page shows. The answer to a mail program
    is the page too, never a redirect."""
    now = clock.now()
    try:
        reader = links.read(token, now)
        language = await unsubscriptions.language_of(db, reader)
    except NotFound:
        return _lost(request)
    own = Switch(reader.channel, reader.category)
    changed = await unsubscriptions.change(db, reader, _wanted(fields, own), now)
    found = await unsubscriptions.choices(db, reader, now)
    return HTMLResponse(page.choices(_language(request, language), reader, found, changed))


def _wanted(fields: Fields, own: Switch) -> dict[Switch, bool]:
    """`shown` names what the form has, `on` what of it is ticked. Raises BadRequest for a form that is not ours."""
    if _ONE_CLICK in fields:
        return {own: False}
    ticked = {value for name, value in fields if name == "on"}
    shown = [value for name, value in fields if name == "shown"]
    if not shown:
        raise BadRequest
    return {page.switch_of(name): name in ticked for name in shown}


def _language(request: Request, tag: str | None) -> languages.Language:
    return languages.of(tag) if tag else languages.liked(request.headers.get("accept-language", ""))


def _lost(request: Request) -> HTMLResponse:
    return HTMLResponse(page.lost(_language(request, None)), 404)
