"""The channels of Slack and Discord, as their readers see them."""

from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from deploy.sandbox.boards import Board, Posting
from deploy.sandbox.discord_routes import discord_of
from deploy.sandbox.markup import Html, tag
from deploy.sandbox.pages import SHOWN, framed
from deploy.sandbox.slack_routes import slack_of

_BOARDS: Sequence[tuple[str, str, Callable[[Request], Board]]] = (
    ("Slack", "/slack", lambda request: slack_of(request).board),
    ("Discord", "/discord", lambda request: discord_of(request).board),
)


def routes() -> Sequence[Route]:
    found = []
    for title, path, board_of in _BOARDS:
        found.append(Route(path, _show(title, path, board_of), methods=["GET"]))
        found.append(Route(f"{path}/clear", _clear(path, board_of), methods=["POST"]))
    return found


def _show(title: str, path: str, board_of: Callable[[Request], Board]) -> Callable[[Request], Awaitable[Response]]:
    async def show(request: Request) -> Response:
        """What was posted, newest first."""
        found = board_of(request).newest_first()
        button = tag("form", tag("button", "Delete all", class_="danger"), method="post", action=f"{path}/clear")
        count = tag("p", f"{len(found)} message{'' if len(found) == 1 else 's'}")
        return HTMLResponse(framed(title, tag("div", count, button, class_="toolbar"), _list(found[:SHOWN])))

    return show


def _clear(path: str, board_of: Callable[[Request], Board]) -> Callable[[Request], Awaitable[Response]]:
    async def clear(request: Request) -> Response:
        """The button of the page."""
        board_of(request).clear()
        return RedirectResponse(path, status_code=303)

    return clear


def _list(postings: Sequence[Posting]) -> Html:
    if not postings:
        return tag("p", "No message yet. What Parley posts appears here.", class_="empty")
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in ("Message", "Received"))))
    return tag("table", head, tag("tbody", *(_row(each) for each in postings)))


def _row(posting: Posting) -> Html:
    links = [
        tag("a", title, href=url, target="_blank", rel="noopener noreferrer", class_="key")
        for title, url in posting.links
    ]
    received = tag("time", f"{posting.at:%Y-%m-%d %H:%M:%S} UTC", datetime=posting.at.isoformat())
    return tag(
        "tr",
        tag("td", tag("p", posting.words, class_="words"), *([tag("div", *links, class_="keys")] if links else [])),
        tag("td", received, class_="time"),
    )
