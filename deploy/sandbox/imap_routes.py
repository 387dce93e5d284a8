"""What the mailbox of returned mails shall hold, and how it shall misbehave, over HTTP."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deploy.sandbox.smtp_routes import postbox


async def list_numbers(request: Request) -> Response:
    """The numbers of its mails, and their validity."""
    folder = postbox(request).returned
    return JSONResponse({"validity": folder.validity, "numbers": folder.numbers(), "broken": sorted(folder.broken)})


async def add_mail(request: Request) -> Response:
    """Any bytes, as a mail that somebody has sent there. `?broken=1`: one that the server cannot read itself."""
    folder = postbox(request).returned
    number = folder.add(await request.body())
    if request.query_params.get("broken"):
        folder.broken.add(number)
    return JSONResponse({"number": number}, 201)


async def rebuild(request: Request) -> Response:
    """All mails get new numbers, and the numbers another validity."""
    postbox(request).returned.rebuild()
    return await list_numbers(request)


def routes() -> Sequence[Route]:
    return [
        Route("/imap/messages", list_numbers, methods=["GET"]),
        Route("/imap/messages", add_mail, methods=["POST"]),
        Route("/imap/rebuild", rebuild, methods=["POST"]),
    ]
