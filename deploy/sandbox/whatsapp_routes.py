"""WhatsApp's Cloud API, below /whatsapp/<version>: paths, headers and bodies are those of graph.facebook.com."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from deploy.sandbox.faults import Fault
from deploy.sandbox.scripted import Silence, paced
from deploy.sandbox.whatsapp import WhatsApp
from deploy.sandbox.whatsapp_rules import Refusal
from deploy.sandbox.whatsapp_state import Number

_VERSION = re.compile(r"v[0-9]{1,3}\.[0-9]")
_CODED = re.compile(r"([45][0-9]{2}) ([0-9]{1,9})")
_MOST_BYTES = 100 * 1024 * 1024
_TIERS = {250: "TIER_250", 2_000: "TIER_2K", 10_000: "TIER_10K", 100_000: "TIER_100K", None: "TIER_UNLIMITED"}

Handler = Callable[[Request, WhatsApp], Awaitable[Response]]


def whatsapp_of(request: Request) -> WhatsApp:
    found: WhatsApp = request.app.state.whatsapp
    return found


def _guarded(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """With a token that is known, on a path with a version, and refusals as the Graph API words them."""

    async def guarded(request: Request) -> Response:
        whatsapp = whatsapp_of(request)
        try:
            _check(request, whatsapp)
            return await handler(request, whatsapp)
        except Refusal as refusal:
            return JSONResponse(refusal.body, refusal.status)

    return guarded


def _check(request: Request, whatsapp: WhatsApp) -> None:
    if not whatsapp.knows(request.headers.get("authorization", "")):
        raise Refusal(190, "The access token is invalid.")
    if not _VERSION.fullmatch(request.path_params.get("version", "v1.0")):
        raise Refusal(2500, "Unknown path components")


async def post_message(request: Request, whatsapp: WhatsApp) -> Response:
    """Sends a message, or marks one as read."""
    try:
        body = json.loads(await request.body())
    except ValueError:
        raise Refusal(100, "The body is no JSON.") from None
    recipients = [str(body.get(name, "")) for name in ("to", "recipient")] if isinstance(body, dict) else []
    faults = whatsapp.faults
    fault = faults.take(recipients, after_data=False) or faults.take(recipients, after_data=True)
    refused = fault is not None and bool(fault.reply or fault.drop)
    taken = whatsapp.send(request.path_params["object"], body) if fault is None or fault.keep or not refused else {}
    return paced(await _strike(whatsapp, "".join(recipients), fault) or JSONResponse(taken), fault)


async def post_media(request: Request, whatsapp: WhatsApp) -> Response:
    """Keeps a file for messages to come."""
    _, number = whatsapp.number(request.path_params["object"])
    async with request.form(max_part_size=_MOST_BYTES) as form:
        file, mime = form.get("file"), form.get("type")
        if form.get("messaging_product") != "whatsapp" or not isinstance(file, UploadFile) or not isinstance(mime, str):
            raise Refusal(131008, "messaging_product, file and type are required")
        if file.content_type != mime:
            raise Refusal(131053, f"The file is {file.content_type}, not {mime}.")
        stored = whatsapp.store(number.id, mime, await file.read())
    return JSONResponse({"id": stored.id})


async def get_object(request: Request, whatsapp: WhatsApp) -> Response:
    """A number, with the fields that are asked for, or a file's whereabouts."""
    given = request.path_params["object"]
    if given in whatsapp.media:
        stored = whatsapp.stored(given, request.query_params.get("phone_number_id"), whatsapp.clock.seconds())
        url = stored.elsewhere or str(request.url_for("whatsapp_file", media=given))
        about = {"messaging_product": "whatsapp", "url": url}
        about |= {"mime_type": stored.mime, "sha256": stored.sha256, "id": stored.id}
        size = len(stored.content) if stored.claimed_size is None else stored.claimed_size
        return JSONResponse({**about, "file_size": size})
    business, number = whatsapp.number(given)
    fields = request.query_params.get("fields", "verified_name,display_phone_number,quality_rating").split(",")
    known = _fields(number, business.tier)
    unknown = [name for name in fields if name not in known]
    if unknown:
        raise Refusal(100, f"Tried accessing nonexisting field ({unknown[0]})")
    return JSONResponse({"id": number.id, **{name: known[name] for name in fields}})


async def get_file(request: Request, whatsapp: WhatsApp) -> Response:
    """What the address of a file leads to; the token is asked for here as well."""
    stored = whatsapp.stored(request.path_params["media"], None, whatsapp.clock.seconds())
    return Response(stored.content, media_type=stored.mime)


async def get_templates(request: Request, whatsapp: WhatsApp) -> Response:
    """The templates of a business account, by the page."""
    business = whatsapp.businesses.get(request.path_params["object"])
    if business is None:
        raise Refusal(100, "Object does not exist", subcode=33)
    query = request.query_params
    limit, start = int(query.get("limit", "25")), int(query.get("after", "0"))
    found = list(business.templates.values())
    page = [_selected(each.as_json(), query.get("fields")) for each in found[start : start + limit]]
    paging: dict[str, Any] = {"cursors": {"before": str(start), "after": str(start + len(page))}}
    if start + limit < len(found):
        paging["next"] = f"{request.url}&access_token=never-use-this"
    return JSONResponse({"data": page, "paging": paging})


def routes() -> Sequence[Route]:
    path = "/whatsapp/{version}/{object}"
    return [
        Route("/whatsapp/files/{media}", _guarded(get_file), methods=["GET"], name="whatsapp_file"),
        Route(f"{path}/messages", _guarded(post_message), methods=["POST"]),
        Route(f"{path}/media", _guarded(post_media), methods=["POST"]),
        Route(f"{path}/message_templates", _guarded(get_templates), methods=["GET"]),
        Route(path, _guarded(get_object), methods=["GET"]),
    ]


def _fields(number: Number, tier: int | None) -> dict[str, Any]:
    return {
        "id": number.id,
        "display_phone_number": number.display,
        "verified_name": number.name,
        "quality_rating": number.quality,
        "status": "CONNECTED",
        "throughput": {"level": "HIGH" if number.per_second > 80 else "STANDARD"},
        "whatsapp_business_manager_messaging_limit": _TIERS.get(tier, "TIER_250"),
    }


def _selected(template: dict[str, Any], fields: str | None) -> dict[str, Any]:
    wanted = {"id", *fields.split(",")} if fields else set(template)
    return {name: value for name, value in template.items() if name in wanted}


async def _strike(whatsapp: WhatsApp, recipient: str, fault: Fault | None) -> Response | None:
    """`reply` is a status and a code, `400 131056`, or a status and words that no API would say."""
    if fault is None:
        return None
    if fault.delay_ms:
        await asyncio.sleep(fault.delay_ms / 1000)
    if fault.drop:
        whatsapp.refuse(recipient, None)
        return Silence()
    if fault.reply is None:
        return None
    whatsapp.refuse(recipient, fault.reply)
    coded = _CODED.fullmatch(fault.reply)
    if coded:
        refusal = Refusal(int(coded[2]), "On order.", status=int(coded[1]))
        return JSONResponse(refusal.body, refusal.status)
    return PlainTextResponse(fault.reply[4:], int(fault.reply[:3]))
