"""The phones at Twilio's other end: what they show, and a field to answer."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from deploy.sandbox.markup import Html, tag
from deploy.sandbox.pages import SHOWN, framed
from deploy.sandbox.smtp_routes import Listing
from deploy.sandbox.twilio import Text
from deploy.sandbox.twilio_routes import Answer, twilio_of


async def show_texts(request: Request) -> Response:
    """The list, newest first, filtered by number."""
    to = Listing.model_validate(dict(request.query_params)).to
    found = twilio_of(request).newest_first(to)
    return HTMLResponse(framed("Twilio", _answer(to), _list(found[:SHOWN])))


async def write(request: Request) -> Response:
    """The form of the page."""
    given = Answer.model_validate({name: str(value) for name, value in (await request.form()).items()})
    twilio_of(request).answer(given.phone, given.to, given.text)
    return RedirectResponse("/twilio", status_code=303)


def routes() -> Sequence[Route]:
    return [Route("/twilio", show_texts, methods=["GET"]), Route("/twilio/write", write, methods=["POST"])]


def _answer(phone: str) -> Html:
    fields = (
        tag("input", name="phone", value=phone, placeholder="+12025550101", aria_label="From", required="required"),
        tag("input", name="text", placeholder="STOP", aria_label="Text", required="required"),
        tag("button", "Answer as this phone"),
    )
    return tag("div", tag("form", *fields, method="post", action="/twilio/write"), class_="toolbar")


def _list(texts: Sequence[Text]) -> Html:
    if not texts:
        return tag("p", "No message yet. What Parley texts through Twilio appears here.", class_="empty")
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in ("Phone", "Message", "Status", "At"))))
    return tag("table", head, tag("tbody", *(_row(each) for each in texts)))


def _row(text: Text) -> Html:
    at = tag("time", f"{text.at:%Y-%m-%d %H:%M:%S} UTC", datetime=text.at.isoformat())
    phone, other = (text.sender, f"to {text.to}") if text.incoming else (text.to, f"from {text.sender}")
    return tag(
        "tr",
        tag("td", phone, class_="to"),
        tag("td", text.body, tag("small", other)),
        tag("td", text.status),
        tag("td", at, class_="time"),
    )
