"""What the mail provider did, and what it shall do, over HTTP."""

from collections.abc import Sequence
from typing import Annotated, cast
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from deploy.sandbox.certificates import Certificate
from deploy.sandbox.faults import Fault
from deploy.sandbox.mailbox import Mail
from deploy.sandbox.smtp import Postbox
from deploy.sandbox.smtp_reports import Bounce, Complaint, bounced, complained
from deploy.sandbox.smtp_rules import PRESETS, Preset, Rules
from deploy.sandbox.smtp_tokens import Habits


class Listing(BaseModel):
    to: Annotated[str, Field(max_length=320)] = ""
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100


class Named(BaseModel):
    model_config = ConfigDict(extra="forbid")

    preset: Preset


class Advance(BaseModel):
    seconds: Annotated[float, Field(ge=0, le=10_000_000)]


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


async def bounce(request: Request) -> Response:
    """A report of delivery about this message, in the mailbox of its return path; see `Bounce` for the fields."""
    wanted = Bounce.model_validate_json(await request.body() or b"{}")
    return _written(request, bounced(message(request), wanted, postbox(request).clock.now()))


async def complain(request: Request) -> Response:
    """A complaint about this message, in the mailbox of its return path; see `Complaint` for the fields."""
    wanted = Complaint.model_validate_json(await request.body() or b"{}")
    return _written(request, complained(message(request), wanted, postbox(request).clock.now()))


async def get_rules(request: Request) -> Response:
    """What a mailbox may; see `Rules` for the fields."""
    return JSONResponse(postbox(request).allowance.rules.model_dump())


async def set_rules(request: Request) -> Response:
    """`Rules`, or `{"preset": "gmail" | "office365" | "none"}`. What was sent before counts no more."""
    body = await request.body()
    named = Named.model_validate_json(body) if b'"preset"' in body else None
    allowance = postbox(request).allowance
    allowance.rules = PRESETS[named.preset] if named else Rules.model_validate_json(body)
    allowance.forget()
    return await get_rules(request)


async def advance_clock(request: Request) -> Response:
    """`{"seconds": n}` later for limits of a minute and of a day."""
    postbox(request).allowance.clock.advance(Advance.model_validate_json(await request.body()).seconds)
    return Response(status_code=204)


async def issue_token(request: Request) -> Response:
    """The token endpoint (RFC 6749, 3.2), for `parley-mail` with `mail-secret`."""
    form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
    status, answer = postbox(request).tokens.issue(form)
    return JSONResponse(answer, status)


async def show_tokens(request: Request) -> Response:
    """How often tokens were asked for, and how the endpoint behaves."""
    tokens = postbox(request).tokens
    return JSONResponse({"asked": tokens.asked, **tokens.habits.model_dump()})


async def set_habits(request: Request) -> Response:
    """See `Habits` for the fields."""
    postbox(request).tokens.habits = Habits.model_validate_json(await request.body())
    return await show_tokens(request)


async def end_tokens(request: Request) -> Response:
    """All access tokens end now."""
    postbox(request).tokens.end_all()
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
        Route("/smtp/messages/{id}/bounce", bounce, methods=["POST"]),
        Route("/smtp/messages/{id}/complaint", complain, methods=["POST"]),
        Route("/smtp/faults", list_faults, methods=["GET"]),
        Route("/smtp/faults", create_fault, methods=["POST"]),
        Route("/smtp/faults", delete_faults, methods=["DELETE"]),
        Route("/smtp/rules", get_rules, methods=["GET"]),
        Route("/smtp/rules", set_rules, methods=["PUT"]),
        Route("/smtp/clock", advance_clock, methods=["POST"]),
        Route("/smtp/oauth/token", issue_token, methods=["POST"]),
        Route("/smtp/oauth", show_tokens, methods=["GET"]),
        Route("/smtp/oauth", set_habits, methods=["PUT"]),
        Route("/smtp/oauth/tokens", end_tokens, methods=["DELETE"]),
        Route("/smtp/certificate.pem", get_certificate, methods=["GET"]),
    ]


def postbox(request: Request) -> Postbox:
    found: Postbox = request.app.state.postbox
    return found


def _written(request: Request, report: Mail) -> Response:
    postbox(request).mailbox.add(report)
    postbox(request).returned.add(report.raw)
    return JSONResponse(report.summary(), 201)


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
