"""A page of what has arrived, the same for every provider whose messages are not answered."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from starlette.responses import HTMLResponse, Response

from deploy.sandbox.markup import Html, tag
from deploy.sandbox.pages import SHOWN, framed


@dataclass(frozen=True, slots=True)
class Arrival:
    to: str
    said: str
    note: str
    at: datetime


def page(title: str, arrivals: Sequence[Arrival], *tools: Html, empty: str) -> Response:
    """Newest first, below the tools."""
    rows = tag("tbody", *_rows(arrivals[:SHOWN]))
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in ("To", "Message", "Received"))))
    shown = tag("table", head, rows) if arrivals else tag("p", empty, class_="empty")
    return HTMLResponse(framed(title, tag("div", *tools, class_="toolbar"), shown))


def _rows(arrivals: Iterable[Arrival]) -> Iterable[Html]:
    for each in arrivals:
        at = tag("time", f"{each.at:%Y-%m-%d %H:%M:%S} UTC", datetime=each.at.isoformat())
        said = tag("td", each.said, tag("small", each.note))
        yield tag("tr", tag("td", each.to, class_="to"), said, tag("td", at, class_="time"))
