"""What our messages say: typed variables put into words that are kept per language, as plain text and as HTML.

`kinds` says which messages there are and what each needs to know, `words/` how they are worded, `paper` what they look
like. Values are never templates: they are put in after the words were compiled, and are escaped in HTML.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from notify_service.domain.channels import CannotRender
from notify_service.domain.templates import kinds, languages


@dataclass(frozen=True, slots=True)
class Mail:
    subject: str
    text: str
    html: str


def render(kind: str, variables: Mapping[str, Any], secret: str | None = None, unsubscribe: str | None = None) -> Mail:
    """The mail in the language that `variables["language"]` names, or the nearest that we have. Raises CannotRender.

    `variables["page"]` is the page of the client that takes the secret; without one the mail shows the secret itself.
    `unsubscribe` is the page on which its reader can end such mails.
    """
    given = dict(variables)
    language, page = given.pop("language", None), given.pop("page", None)
    values = kinds.checked(kind, given, secret)
    words = languages.of(language)
    written = words.mails.get(kind)
    if written is None:
        raise CannotRender("unknown_template")
    values["names"] = words.names
    values["link"] = _link(page, secret)
    values["unsubscribe"] = unsubscribe
    subject = written.subject.render(values)
    return Mail(subject, written.text.render(values) + "\n", written.html.render(values) + "\n")


def render_text(kind: str, variables: Mapping[str, Any], secret: str | None = None, language: str | None = None) -> str:
    """A short message for a phone. Raises CannotRender."""
    given = dict(variables)
    named, page = given.pop("language", None), given.pop("page", None)
    values = kinds.checked(kind, given, secret)
    written = languages.of(language or named).texts.get(kind)
    if written is None:
        raise CannotRender("unknown_template")
    return written.render({**values, "link": _link(page, secret)})


def _link(page: str | None, secret: str | None) -> str | None:
    # After the #, the secret stays in the browser: no server on the way can log it.
    return f"{page}#token={quote(secret, safe='')}" if page and secret else None


def prepare() -> None:
    """Compiles everything now, so that the first message does not wait for it."""
    for tag in languages.TAGS:
        languages.of(tag)
