"""The templates of a WhatsApp business account, and what each of them needs.

Facts: Meta's pages on message templates (of 2026-05), looked up in November 2026. A template is known by its name and
language; only approved ones may be sent. Its texts have `{{1}}`, `{{2}}`, or in a newer form names, to fill.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from notify_service.domain.channels import ErrorClass, Outcome, Problem, Setup
from notify_service.domain.channels.http import Refused
from notify_service.domain.channels.whatsapp import Config
from notify_service.domain.channels.whatsapp_graph import Graph
from notify_service.domain.content import Approved, Media

APPROVED = "APPROVED"
_GAP = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")
_FIELDS = "name,language,status,category,parameter_format,components"
_PAGE = "100"
_MOST_PAGES = 100
_MOST_TEMPLATES = 10_000


@dataclass(frozen=True, slots=True)
class Template:
    """What is to know of a template before it is sent."""

    name: str
    language: str
    status: str
    """APPROVED, PENDING, REJECTED, PAUSED, DISABLED and more; only the first may be sent."""
    category: str
    """MARKETING, UTILITY or AUTHENTICATION."""
    header: str | None = None
    """`text`, `image`, `video`, `document` or `location`, where there is something to fill in."""
    body: int = 0
    """Values of its text."""
    buttons: tuple[int, ...] = ()
    """The places, from 0, of the buttons that have something to fill in."""
    beyond: str | None = None
    """What it needs that a content cannot say, as a sentence."""


async def fetch_templates(setup: Setup) -> list[Template]:
    """All templates of the account. Raises Refused, with `no_business_account` where none is set up."""
    config: Config = setup.config
    if config.business_account_id is None:
        raise Refused(Outcome(ErrorClass.AUTH, "no_business_account"))
    url = f"{config.graph_url}/{config.business_account_id}/message_templates"
    found: list[Template] = []
    params = {"fields": _FIELDS, "limit": _PAGE}
    async with Graph(setup) as graph:
        for _ in range(_MOST_PAGES):
            page = await graph.get(url, params)
            found += parse_templates(page)
            after = _next(page)
            if after is None or len(found) >= _MOST_TEMPLATES:
                break
            # By the cursor: the address of the next page, which Meta gives as well, has the token in it.
            params = {**params, "after": after}
    return found


def parse_templates(page: Mapping[str, Any]) -> list[Template]:
    """Those of one page that are what they should be."""
    data = page.get("data")
    return [found for each in data if (found := _template(each))] if isinstance(data, list) else []


def check_template(approved: Approved, templates: Iterable[Template]) -> Sequence[Problem]:
    """Why this template cannot be sent as it is meant to be. Pure."""
    named = [each for each in templates if each.name == approved.name]
    if not named:
        return [Problem("content.template.name", "There is no such template.")]
    found = next((each for each in named if each.language == approved.language), None)
    if found is None:
        languages = ", ".join(sorted(each.language for each in named))
        return [Problem("content.template.language", f"This template is in: {languages}.")]
    if found.status != APPROVED:
        return [Problem("content.template.name", f"The template is not approved: {found.status}.")]
    return list(_gaps(approved, found))


def _gaps(approved: Approved, template: Template) -> Iterator[Problem]:
    if template.beyond is not None:
        yield Problem("content.template.name", template.beyond)
    if len(approved.body) != template.body:
        yield Problem("content.template.body", f"It has {template.body} values, not {len(approved.body)}.")
    header = approved.header.kind if isinstance(approved.header, Media) else "text" if approved.header else None
    if header != template.header:
        yield Problem("content.template.header", f"Its header takes {template.header or 'nothing'}.")
    if tuple(range(len(approved.buttons))) != template.buttons:
        first = template.buttons == tuple(range(len(template.buttons)))
        wrong = f"It has {len(template.buttons)} to fill." if first else "Those to fill must come first."
        yield Problem("content.template.buttons", wrong)


def _template(given: Any) -> Template | None:
    match given:
        case {"name": str(name), "language": str(language), "status": str(status), "category": str(category)}:
            components = given.get("components")
            parts = [each for each in components if isinstance(each, dict)] if isinstance(components, list) else []
            found = reduce(_with, parts, Template(name, language, status, category))
            if given.get("parameter_format") == "NAMED" and (found.body or found.header == "text"):
                return replace(found, beyond="Its values have names; number them.")
            return found
    return None


def _with(template: Template, part: Mapping[str, Any]) -> Template:
    match part:
        case {"type": "HEADER", "format": "TEXT", "text": str(text)}:
            return replace(template, header="text" if _GAP.search(text) else None)
        case {"type": "HEADER", "format": str(form)}:
            return replace(template, header=form.lower())
        case {"type": "BODY", "text": str(text)}:
            return replace(template, body=len(set(_GAP.findall(text))))
        case {"type": "BUTTONS", "buttons": list(found)}:
            buttons = tuple(index for index, button in enumerate(found) if _fillable(button))
            coupon = any(isinstance(each, dict) and each.get("type") == "COPY_CODE" for each in found)
            beyond = "Its button copies a code, which cannot be given here." if coupon else template.beyond
            return replace(template, buttons=buttons, beyond=beyond)
    return template


def _fillable(button: object) -> bool:
    match button:
        case {"type": "URL", "url": str(url)}:
            return bool(_GAP.search(url))
        case {"type": "OTP"}:
            # Its code is a value of the text, and once more of the button that copies it.
            return True
    return False


def _next(page: Mapping[str, Any]) -> str | None:
    match page.get("paging"):
        case {"next": _, "cursors": {"after": str(after)}}:
            return after
    return None
