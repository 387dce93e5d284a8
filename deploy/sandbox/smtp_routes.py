"""What the mail provider did, and what it shall do, over HTTP."""

from collections.abc import Sequence
from typing import Annotated, cast

from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from deploy.sandbox.certificates import Certificate
from deploy.sandbox.faults import Fault
from deploy.sandbox.mailbox import Mail
from deploy.sandbox.smtp import Postbox


class Listing(BaseModel):
    to: Annotated[str, Field(max_length=320)] = ""
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100


async def list_messages(request: Request) -> Response:
    """Newest first; `to` is part of a recipient's address, `total` counts all that match."""
    listing = Listing.model_validate(dict(request.query_params))
    found = postbox(request).mailbox.newest_first(listing.to)
    results = [mail.summary() for mail in found[: listing.limit]]
    return JSONResponse({"results": results, "total": len(found)})


async def get_message(request: Request) -> Response:
    """One message, taken apart."""
    return JSONResponse(message(request).as_json())


async def get_raw_message(request: Request) -> Response:
    """The octets as they arrived, without the envelope."""
    headers = {"content-disposition": 'attachment; filename="message.eml"'}
    return Response(message(request).raw, media_type="message/rfc822", headers=headers)


async def delete_messages(request: Request) -> Response:
    """Empty the mailbox. The log of effects stays."""
    postbox(request).mailbox.clear()
    return Response(status_code=204)


async def create_fault(request: Request) -> Response:
    """Script a failure; see `Fault` for the fields."""
    fault = Fault.model_validate_json(await request.body())
    return JSONResponse(postbox(request).faults.add(fault).model_dump(), status_code=201)


async def list_faults(request: Request) -> Response:
    """Faults that are not used up, in the order in which they are tried."""
    results = [fault.model_dump() for fault in postbox(request).faults.pending()]
    return JSONResponse({"results": results})


async def delete_faults(request: Request) -> Response:
    """Behave again."""
    postbox(request).faults.clear()
    return Response(status_code=204)


async def get_certificate(request: Request) -> Response:
    """The certificate of STARTTLS: a client that trusts exactly this one can verify the server."""
    certificate: Certificate = request.app.state.certificate
    return PlainTextResponse(certificate.pem, media_type="application/x-pem-file")


def routes() -> Sequence[Route]:
    return [
        Route("/smtp/messages", list_messages, methods=["GET"]),
        Route("/smtp/messages", delete_messages, methods=["DELETE"]),
        Route("/smtp/messages/{id}", get_message, methods=["GET"]),
        Route("/smtp/messages/{id}/raw", get_raw_message, methods=["GET"]),
        Route("/smtp/faults", list_faults, methods=["GET"]),
        Route("/smtp/faults", create_fault, methods=["POST"]),
        Route("/smtp/faults", delete_faults, methods=["DELETE"]),
        Route("/smtp/certificate.pem", get_certificate, methods=["GET"]),
    ]


def postbox(request: Request) -> Postbox:
    found: Postbox = request.app.state.postbox
    return found


def message(request: Request) -> Mail:
    mail = postbox(request).mailbox.get(request.path_params["id"])
    if mail is None:
        raise HTTPException(404, "There is no such message; the mailbox keeps the newest only.")
    return mail


async def refuse_invalid(request: Request, error: Exception) -> Response:
    del request
    # Without the input and the context: neither is sure to be JSON.
    errors = cast(ValidationError, error).errors(include_url=False, include_context=False, include_input=False)
    return JSONResponse({"detail": "The request is not valid.", "errors": errors}, status_code=422)
