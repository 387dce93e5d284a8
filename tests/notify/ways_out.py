"""The way out of a message, as a mail program and a browser see it."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from uuid import uuid4

import httpx2

from notify_service.domain.unsubscribe_links import Reader, UnsubscribeLinks
from tests.notify.world import FIELD_KEYS, PUBLIC_URL

ONE_CLICK = {"List-Unsubscribe": "One-Click"}
OTHER_KEY = "next:ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8"
LINKS = UnsubscribeLinks(FIELD_KEYS, PUBLIC_URL)
VOID = {"meta", "link", "input"}


class Page(HTMLParser):
    """What a browser makes of it: `forms`, by the words of their button, as what pressing it sends; `boxes` with
    whether they are ticked."""

    def __init__(self, answer: httpx2.Response) -> None:
        super().__init__()
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        self.status = answer.status_code
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.forms: dict[str, list[tuple[str, str]]] = {}
        self.boxes: dict[str, bool] = {}
        self.words = ""
        self._open: list[str] = []
        self._fields: list[tuple[str, str]] = []
        self.feed(answer.text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "form":
            self._fields = []
        if given.get("type") == "checkbox" and "disabled" not in given:
            self.boxes[given["value"]] = "checked" in given
        if given.get("type") == "hidden" or "checked" in given or (tag == "button" and "name" in given):
            self._fields.append((given["name"], given["value"]))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += f" {data.strip()}"
        if self._open and self._open[-1] == "button":
            self.forms[data.strip()] = self._fields


def somebody() -> str:
    return f"{uuid4().hex}@example.test"


def link_to(channel: str, category: str, who: Any, at: str | None = None, **ago: int) -> str:
    link = LINKS.to(Reader(channel, category, who, at), datetime.now(UTC) - timedelta(**ago))
    assert link is not None
    return link.removeprefix(PUBLIC_URL)


def header(mail: Any, name: str) -> str | None:
    return next((value for given, value in mail.headers if given.lower() == name), None)


def way_out(mail: Any) -> str:
    """As a mail program finds it."""
    found = re.fullmatch(rf"<{re.escape(PUBLIC_URL)}(/u/[\w-]+)>", header(mail, "list-unsubscribe") or "")
    assert found is not None
    assert header(mail, "list-unsubscribe-post") == "List-Unsubscribe=One-Click"
    return found[1]


async def post(api: httpx2.AsyncClient, path: str, fields: Iterable[tuple[str, str]]) -> Page:
    given: dict[str, list[str]] = {}
    for name, value in fields:
        given.setdefault(name, []).append(value)
    return Page(await api.post(path, data=given))
