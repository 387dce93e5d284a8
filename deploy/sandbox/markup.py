"""HTML that is escaped unless it was built here."""

from html import escape

VOID = frozenset({"br", "input", "link", "meta"})


class Html(str):
    """Text that is markup already. Everything else is escaped on its way in."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: str) -> Html:
    """`<name ...>children</name>`. In names a trailing underscore is dropped, others become hyphens."""
    given = "".join(f' {_name(key)}="{escape(value)}"' for key, value in attributes.items())
    if name in VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{join(*children)}</{name}>")


def join(*parts: str) -> Html:
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def document(title: str, *body: str) -> Html:
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("link", rel="stylesheet", href="/style.css"),
    )
    return Html("<!doctype html>" + tag("html", head, tag("body", *body), lang="en"))


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")
