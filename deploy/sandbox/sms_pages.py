"""The page that lists text messages, as a phone would."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from deploy.sandbox.markup import Html, tag
from deploy.sandbox.pages import SHOWN, framed
from deploy.sandbox.sms import Text
from deploy.sandbox.sms_routes import texts_of
from deploy.sandbox.smtp_routes import Listing


async def show_texts(request: Request) -> Response:
    """The list, newest first, filtered by number."""
    to = Listing.model_validate(dict(request.query_params)).to
    found = texts_of(request).newest_first(to)
    return HTMLResponse(framed("Texts", _toolbar(to, len(found)), _list(found[:SHOWN])))


async def clear_texts(request: Request) -> Response:
    """The button of the list."""
    texts_of(request).clear()
    return RedirectResponse("/texts", status_code=303)


def routes() -> Sequence[Route]:
    return [
        Route("/texts", show_texts, methods=["GET"]),
        Route("/texts/clear", clear_texts, methods=["POST"]),
    ]


def _toolbar(to: str, total: int) -> Html:
    field = tag("input", type="search", name="to", value=to, placeholder="Phone", aria_label="Phone contains")
    return tag(
        "div",
        tag("form", field, tag("button", "Filter"), method="get", action="/texts"),
        tag("p", f"{total} message{'' if total == 1 else 's'}"),
        tag("form", tag("button", "Delete all", class_="danger"), method="post", action="/texts/clear"),
        class_="toolbar",
    )


def _list(texts: Sequence[Text]) -> Html:
    if not texts:
        return tag("p", "No message yet. What Parley texts appears here.", class_="empty")
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in ("To", "Message", "Received"))))
    return tag("table", head, tag("tbody", *(_row(each) for each in texts)))


def _row(text: Text) -> Html:
    received = tag("time", f"{text.received_at:%Y-%m-%d %H:%M:%S} UTC", datetime=text.received_at.isoformat())
    return tag(
        "tr",
        tag("td", text.to, class_="to"),
        tag("td", text.text, tag("small", f"from {text.sender}")),
        tag("td", received, class_="time"),
    )
