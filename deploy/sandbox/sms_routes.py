"""The API of the text message provider, and what it did and shall do."""

import asyncio
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deploy.sandbox.faults import Fault
from deploy.sandbox.scripted import Silence, paced
from deploy.sandbox.sms import Order, Texts
from deploy.sandbox.smtp_routes import Listing


async def send_text(request: Request) -> Response:
    """The provider's API: `{"id", "to", "from", "text"}` with a bearer token, 201 with the provider's id."""
    texts = texts_of(request)
    if not texts.knows(request.headers.get("authorization", "")):
        return JSONResponse({"error": "unauthorized"}, 401)
    order = Order.model_validate_json(await request.body())
    fault = texts.faults.take([order.to], after_data=False) or texts.faults.take([order.to], after_data=True)
    refused = fault is not None and bool(fault.reply or fault.drop)
    message_id = texts.deliver(order) if fault is None or fault.keep or not refused else ""
    return paced(await _strike(texts, order, fault) or JSONResponse({"id": message_id}, 201), fault)


async def list_texts(request: Request) -> Response:
    """Newest first; `to` is part of a number, `total` counts all that match."""
    listing = Listing.model_validate(dict(request.query_params))
    found = texts_of(request).newest_first(listing.to)
    return JSONResponse({"results": [each.as_json() for each in found[: listing.limit]], "total": len(found)})


async def delete_texts(request: Request) -> Response:
    """Forget the messages. The log of effects stays."""
    texts_of(request).clear()
    return Response(status_code=204)


async def create_fault(request: Request) -> Response:
    """Script a failure; see `Fault` for the fields. The status is that of `reply`, as in `429 slow down`."""
    fault = Fault.model_validate_json(await request.body())
    return JSONResponse(texts_of(request).faults.add(fault).model_dump(), status_code=201)


async def list_faults(request: Request) -> Response:
    """Faults that are not used up, in the order in which they are tried."""
    return JSONResponse({"results": [fault.model_dump() for fault in texts_of(request).faults.pending()]})


async def delete_faults(request: Request) -> Response:
    """Behave again."""
    texts_of(request).faults.clear()
    return Response(status_code=204)


def routes() -> Sequence[Route]:
    return [
        Route("/sms/messages", send_text, methods=["POST"]),
        Route("/sms/messages", list_texts, methods=["GET"]),
        Route("/sms/messages", delete_texts, methods=["DELETE"]),
        Route("/sms/faults", create_fault, methods=["POST"]),
        Route("/sms/faults", list_faults, methods=["GET"]),
        Route("/sms/faults", delete_faults, methods=["DELETE"]),
    ]


def texts_of(request: Request) -> Texts:
    found: Texts = request.app.state.texts
    return found


async def _strike(texts: Texts, order: Order, fault: Fault | None) -> Response | None:
    if fault is None:
        return None
    if fault.delay_ms:
        await asyncio.sleep(fault.delay_ms / 1000)
    if fault.drop:
        texts.refuse(order, None)
        return Silence()
    if fault.reply:
        texts.refuse(order, fault.reply)
        return JSONResponse({"error": fault.reply[4:]}, int(fault.reply[:3]))
    return None
