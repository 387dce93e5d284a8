"""The web mailbox: plain pages without scripts, for people who try Parley out."""

import re
from collections.abc import Iterator, Sequence
from importlib import resources
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from deploy.sandbox.mailbox import Mail
from deploy.sandbox.markup import Html, document, join, tag
from deploy.sandbox.smtp_routes import Listing, message, postbox

STYLE = resources.files(__package__).joinpath("style.css").read_text()
SHOWN = 200
_SECTIONS = {
    "Mailbox": "/",
    "Texts": "/texts",
    "Twilio": "/twilio",
    "Telegram": "/telegram",
    "WhatsApp": "/whatsapp",
    "Slack": "/slack",
    "Discord": "/discord",
    "Web push": "/webpush",
    "FCM": "/fcm",
    "Webhooks": "/webhooks",
}

# Mail is foreign: no scripts, no forms, nothing loaded, an origin of its own. Its links open in a new tab.
MAIL_SANDBOX = "allow-popups allow-popups-to-escape-sandbox"
MAIL_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; "
    f"frame-ancestors 'self'; sandbox {MAIL_SANDBOX}"
)
LINK = re.compile(r"https?://[^\s<>\"]+[^\s<>\".,;:!?)\]]")


async def show_mailbox(request: Request) -> Response:
    """The list, newest first, filtered by recipient."""
    to = Listing.model_validate(dict(request.query_params)).to
    found = postbox(request).mailbox.newest_first(to)
    return _page("Mailbox", _toolbar(to, len(found)), _list(found[:SHOWN], to))


async def show_message(request: Request) -> Response:
    """One message: headers, text, and its HTML in a frame that may do nothing."""
    mail = message(request)
    parts = [tag("h1", mail.subject or "(no subject)"), _headers(mail)]
    if mail.html is not None:
        parts += [tag("h2", "HTML"), _frame(mail)]
    if mail.text is not None:
        parts += [tag("h2", "Text"), tag("pre", *_linked(mail.text))]
    parts += _attachments(mail)
    return HTMLResponse(framed(mail.subject or "(no subject)", tag("article", *parts), section="Mailbox"))


async def show_html_part(request: Request) -> Response:
    """The HTML part alone, for the frame."""
    html = message(request).html
    if html is None:
        return HTMLResponse("", status_code=404)
    # Links must leave the frame; mail rarely says so itself.
    content = '<base target="_blank">' + html
    return HTMLResponse(content, headers={"content-security-policy": MAIL_POLICY})


async def clear_mailbox(request: Request) -> Response:
    """The button of the list."""
    postbox(request).mailbox.clear()
    return RedirectResponse("/", status_code=303)


async def get_style(request: Request) -> Response:
    """The one style sheet."""
    del request
    return Response(STYLE, media_type="text/css")


def routes() -> Sequence[Route]:
    return [
        Route("/", show_mailbox, methods=["GET"]),
        Route("/clear", clear_mailbox, methods=["POST"]),
        Route("/messages/{id}", show_message, methods=["GET"]),
        Route("/messages/{id}/html", show_html_part, methods=["GET"]),
        Route("/style.css", get_style, methods=["GET"]),
    ]


def _page(title: str, *content: Html) -> Response:
    return HTMLResponse(framed(title, *content))


def framed(title: str, *content: Html, section: str | None = None) -> Html:
    """A page of the sandbox. `section`: the one that it belongs to, where that is not its title."""
    home = tag("a", "Parley sandbox", href="/", class_="brand")
    here = section or title
    parts = (
        tag("a", name, href=path, **({"aria_current": "page"} if name == here else {}))
        for name, path in _SECTIONS.items()
    )
    head = tag("header", home, tag("nav", *parts))
    return document(f"{title} - Parley sandbox", head, tag("main", *content))


def _toolbar(to: str, total: int) -> Html:
    field = tag(
        "input",
        type="search",
        name="to",
        value=to,
        placeholder="Recipient",
        aria_label="Recipient contains",
    )
    shown = f", the newest {SHOWN} shown" if total > SHOWN else ""
    count = f"{total} message{'' if total == 1 else 's'}{shown}"
    return tag(
        "div",
        tag("form", field, tag("button", "Filter"), method="get", action="/"),
        tag("p", count),
        tag("form", tag("button", "Delete all", class_="danger"), method="post", action="/clear"),
        class_="toolbar",
    )


def _list(mails: Sequence[Mail], to: str) -> Html:
    if not mails:
        hint = f"No message for \u201c{to}\u201d." if to else "No mail yet. What Parley sends appears here."
        return tag("p", hint, class_="empty")
    names = ("To", "Subject", "Received")
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in names)))
    return tag("table", head, tag("tbody", *(_row(mail) for mail in mails)))


def _row(mail: Mail) -> Html:
    subject = tag("a", mail.subject or "(no subject)", href=f"/messages/{mail.id}")
    preview = " ".join((mail.text or "").split())[:120]
    return tag(
        "tr",
        tag("td", ", ".join(mail.envelope.recipients), class_="to"),
        tag("td", subject, tag("small", preview)),
        tag("td", _time(mail), class_="time"),
    )


def _time(mail: Mail) -> Html:
    return tag("time", f"{mail.received_at:%Y-%m-%d %H:%M:%S} UTC", datetime=mail.received_at.isoformat())


def _headers(mail: Mail) -> Html:
    envelope = mail.envelope
    session = f"{envelope.tls or 'no TLS'}, signed in as {envelope.login or 'nobody'}"
    first: list[tuple[str, str]] = [
        ("Sent by", envelope.sender),
        ("Delivered to", ", ".join(envelope.recipients)),
        ("Received", _time(mail)),
        ("Connection", session),
    ]
    filtered = f"/?to={quote(envelope.recipients[0])}"
    return join(
        tag("dl", *_pairs(first)),
        tag(
            "p",
            tag("a", "All to this recipient", href=filtered),
            tag("a", "Download .eml", href=f"/smtp/messages/{mail.id}/raw"),
            class_="links",
        ),
        tag("details", tag("summary", "Headers"), tag("dl", *_pairs(mail.headers))),
    )


def _pairs(pairs: Sequence[tuple[str, str]]) -> Iterator[Html]:
    return (join(tag("dt", name), tag("dd", value)) for name, value in pairs)


def _frame(mail: Mail) -> Html:
    return tag("iframe", src=f"/messages/{mail.id}/html", sandbox=MAIL_SANDBOX, title="HTML part")


def _attachments(mail: Mail) -> list[Html]:
    if not mail.attachments:
        return []
    items = (f"{part.filename} ({part.content_type}, {part.size:,} bytes)" for part in mail.attachments)
    return [tag("h2", "Attachments"), tag("ul", *(tag("li", item) for item in items))]


def _linked(text: str) -> Iterator[str]:
    """Addresses become links; every other character stays text."""
    end = 0
    for found in LINK.finditer(text):
        yield text[end : found.start()]
        yield tag("a", found[0], href=found[0], target="_blank", rel="noopener noreferrer")
        end = found.end()
    yield text[end:]
