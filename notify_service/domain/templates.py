"""What our mails say. A template is a function of its variables; what is not text by type is escaped here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

from notify_service.domain.channels import CannotRender


@dataclass(frozen=True, slots=True)
class Mail:
    subject: str
    text: str
    html: str


def render(template: str, variables: Mapping[str, Any], secret: str | None) -> Mail:
    write = _TEMPLATES.get(template)
    if write is None:
        raise CannotRender("unknown_template")
    given = {**variables, "secret": secret} if secret is not None else variables
    try:
        return write(**given)
    except TypeError:
        raise CannotRender("wrong_variables") from None


def verify_email(name: str, secret: str, page: str | None = None) -> Mail:
    """`page` is the client's page that confirms addresses; without one the code itself is shown."""
    hello = _hello(name)
    last = "If you did not ask for this, ignore this mail: nothing happens without it."
    if page:
        ask = "Please confirm your e-mail address by opening this link:"
        # After the #, the code stays in the browser: no server on the way can log it.
        shown = f"{page}#token={quote(secret, safe='')}"
        html = f'<a href="{escape(shown)}">Confirm my e-mail address</a>'
    else:
        ask = "This is your code to confirm your e-mail address:"
        shown = secret
        html = f"<strong>{escape(secret)}</strong>"
    return Mail(
        "Confirm your e-mail address",
        _lines(hello, ask, shown, last),
        _page(_p(hello), _p(ask), f"<p>{html}</p>", _p(last)),
    )


def account_exists(name: str) -> Mail:
    hello = _hello(name)
    what = "Somebody tried to register with this e-mail address, but you have an account already. Sign in as usual."
    last = "If it was not you, there is nothing to do: the other person learned nothing."
    return Mail("You already have an account", _lines(hello, what, last), _page(_p(hello), _p(what), _p(last)))


def message(name: str, sender: str, conversation: str | None, excerpt: str) -> Mail:
    """`conversation` is the name of a group; None between two people."""
    hello = _hello(name)
    where = f" in {conversation}" if conversation else ""
    what = f"{sender} wrote{where}:"
    last = "You get this mail because you were away. E-mails can be switched off in your preferences."
    html = _page(_p(hello), _p(what), f"<blockquote>{_broken(excerpt)}</blockquote>", f"<hr>{_p(last)}")
    subject = f"New message from {sender}{where}"
    return Mail(subject, _lines(hello, what, excerpt, f"-- \n{last}"), html)


_TEMPLATES: Mapping[str, Callable[..., Mail]] = {
    "verify_email": verify_email,
    "account_exists": account_exists,
    "message": message,
}


def _hello(name: str) -> str:
    return f"Hello {name}," if name else "Hello,"


def _lines(*paragraphs: str) -> str:
    return "\n\n".join(paragraphs) + "\n"


def _p(text: str) -> str:
    return f"<p>{_broken(text)}</p>"


def _broken(text: str) -> str:
    return escape(text).replace("\n", "<br>")


def _page(*parts: str) -> str:
    body = "\n".join(parts)
    return f'<!doctype html>\n<html>\n<body style="font-family: sans-serif">\n{body}\n</body>\n</html>\n'
