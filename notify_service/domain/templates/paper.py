"""How words become a mail: as text, and as HTML that any program shows, in a light and in a dark room.

Words are paragraphs, divided by empty lines. `[Label]` alone in a paragraph is where the secret comes: a button of that
label, or the code; `[]` is always the code. A paragraph that begins with `> ` quotes.
"""

import re
from collections.abc import Sequence
from typing import Any

from jinja2 import StrictUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape

_JINJA = re.compile(r"(\{\{.*?\}\}|\{%.*?%\})", re.DOTALL)
_BUTTON = re.compile(r"\[(.*)\]")
_PAGE = """<!doctype html>
<html lang="{lang}" dir="{dir}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<title>{title}</title>
</head>
<body style="margin:0;padding:24px 16px;font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;\
font-size:16px;line-height:1.5">
<div role="article" lang="{lang}" dir="{dir}" style="max-width:560px;margin:0 auto">
{body}
</div>
</body>
</html>"""
_A = (
    'style="display:inline-block;padding:12px 20px;border-radius:6px;background-color:#1a56db;color:#ffffff;'
    'text-decoration:none;font-weight:600"'
)
_CODE = "style=\"font-family:Consolas,'Courier New',monospace;font-size:18px;overflow-wrap:anywhere\""
_QUOTE = 'style="margin:16px 0;padding:0 16px;border-inline-start:4px solid #888888"'
_SMALL = 'style="margin-top:32px;padding-top:12px;border-top:1px solid #888888;font-size:13px"'


def _broken(value: Any) -> Any:
    """Runs over every value, before it is escaped: line breaks of a value are shown."""
    if isinstance(value, str) and "\n" in value:
        return Markup("<br>\n").join(value.split("\n"))
    return value


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))


# Nobody but us writes these words so far; the sandbox is for the day on which somebody else does.
_TEXT = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
_TEXT.filters["quoted"] = _quoted
_HTML = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=True, finalize=_broken)


def line(words: str) -> Template:
    return _TEXT.from_string(words.strip())


def text(paragraphs: Sequence[str], *, with_code: str, small: str, stop: str) -> Template:
    """`stop` is the word of the link with which a mail that has one can be ended."""
    parts = [_text_part(each, with_code) for each in paragraphs]
    if small:
        parts.append(f"-- \n{small}{{% if unsubscribe %}}\n{stop}: {{{{ unsubscribe }}}}{{% endif %}}")
    return _TEXT.from_string("\n\n".join(parts))


def html(paragraphs: Sequence[str], *, page: dict[str, str], with_code: str, small: str, stop: str) -> Template:
    """`page` has `lang`, `dir` and `title`."""
    parts = [_html_part(each, with_code) for each in paragraphs]
    if small:
        link = f'{{% if unsubscribe %}}<br>\n<a href="{{{{ unsubscribe }}}}">{_escaped(stop)}</a>{{% endif %}}'
        parts.append(f"<p {_SMALL}>{_escaped(small)}{link}</p>")
    title = _escaped(page["title"])
    return _HTML.from_string(_PAGE.format(lang=page["lang"], dir=page["dir"], title=title, body="\n".join(parts)))


def _text_part(paragraph: str, with_code: str) -> str:
    if button := _BUTTON.fullmatch(paragraph):
        label = button[1]
        if not label:
            return "{{ secret }}"
        code = with_code.replace("LABEL", label)
        return f"{{% if link %}}{label}:\n{{{{ link }}}}{{% else %}}{code}\n{{{{ secret }}}}{{% endif %}}"
    if paragraph.startswith("> "):
        return f"{{% filter quoted %}}{paragraph[2:]}{{% endfilter %}}"
    return paragraph


def _html_part(paragraph: str, with_code: str) -> str:
    if button := _BUTTON.fullmatch(paragraph):
        label = _escaped(button[1])
        secret = f"<strong {_CODE}>{{{{ secret }}}}</strong>"
        if not label:
            return f"<p>{secret}</p>"
        code = _escaped(with_code).replace("LABEL", label)
        linked = f'<a href="{{{{ link }}}}" {_A}>{label}</a>'
        return f"<p>{{% if link %}}{linked}{{% else %}}{code}<br>{secret}{{% endif %}}</p>"
    if paragraph.startswith("> "):
        return f"<blockquote {_QUOTE}>{_escaped(paragraph[2:])}</blockquote>"
    return f"<p>{_escaped(paragraph)}</p>"


def _escaped(words: str) -> str:
    """Our own words are text too; only what stands between braces is left to Jinja."""
    return "".join(part if place % 2 else str(escape(part)) for place, part in enumerate(_JINJA.split(words)))
