"""One content for many readers: worked out once, filled for each in microseconds.

Whatever is the same in all mails is bytes already. A value goes on a line of its own, which soft line breaks of
quoted-printable join with what is around it, so nothing has to be counted or broken anew.
"""

import html
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from notify_service.domain.adaptation import text_of
from notify_service.domain.channels import CannotRender
from notify_service.domain.content import Button, Content, split
from notify_service.domain.letters import Body, frame, lines, quoted

_SOFT = b"=\r\n"
_KEPT = 256


@dataclass(frozen=True, slots=True)
class Filled:
    subject: str
    body: Body


class FormLetter:
    """A content as a mail with gaps."""

    def __init__(self, content: Content) -> None:
        text, markup = _parts_of(content)
        start, middle, end = frame(two=markup is not None)
        self._headers = start.headers
        self._subject = split(content.subject or "")
        self._pieces: list[bytes] = [start.content]
        self._plain = self._add(text)
        self._pieces.append(middle)
        self._rich = self._add(markup) if markup is not None else []
        self._pieces.append(end)

    def filled(self, values: Mapping[str, str]) -> Filled:
        """Raises CannotRender where a value is missing."""
        pieces = self._pieces.copy()
        try:
            for at, name in self._plain:
                pieces[at] = quoted(lines(values[name]))
            for at, name in self._rich:
                pieces[at] = quoted(lines(html.escape(values[name])))
            subject = self._subject[0] if len(self._subject) == 1 else _filled(self._subject, values)
        except KeyError:
            raise CannotRender("missing_variable") from None
        return Filled(subject, Body(self._headers, b"".join(pieces)))

    def _add(self, text: str) -> list[tuple[int, str]]:
        """Appends the pieces of a part. Returns where its values go."""
        gaps = []
        fixed = split(lines(text))
        last = len(fixed) - 1
        for index, piece in enumerate(fixed):
            if index % 2:
                gaps.append((len(self._pieces), piece))
                self._pieces.append(b"")
                continue
            written = quoted(piece) if piece else b""
            if index and not written.startswith(b"\r\n"):
                written = _SOFT + written if written or index < last else written
            if index < last and written and not written.endswith(b"\r\n"):
                written += _SOFT
            self._pieces.append(written if index < last or written.endswith(b"\r\n") else written + b"\r\n")
        return gaps


class FormLetters:
    """Those of the contents that are on their way. A content is known by its identity: it is the same object for all
    messages of a batch, and is held here so that no other one takes its place."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, tuple[Content, FormLetter]] = OrderedDict()

    def of(self, content: Content) -> FormLetter:
        known = self._known.get(id(content))
        if known is not None:
            return known[1]
        letter = FormLetter(content)
        self._known[id(content)] = content, letter
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return letter


def _filled(pieces: list[str], values: Mapping[str, str]) -> str:
    return "".join(values[piece] if index % 2 else piece for index, piece in enumerate(pieces))


def _parts_of(content: Content) -> tuple[str, str | None]:
    """Text and HTML. Buttons are links: behind the words in the one, of the reader's own making in the other."""
    text = content.text or text_of(content.html or "")
    spoken = "\n".join(f"{button.title}: {button.url}" for button in content.buttons)
    text = f"{text}\n\n{spoken}" if text and spoken else text or spoken
    if content.html is None:
        return text, None
    return text, _before_the_end(content.html, "".join(_links(content.buttons)))


def _links(buttons: list[Button]) -> Iterator[str]:
    for button in buttons:
        # Quotes and angle brackets alone: a placeholder stays one, and its value is escaped when it comes.
        yield f'<p><a href="{html.escape(button.url or "")}">{html.escape(button.title)}</a></p>\n'


def _before_the_end(document: str, addition: str) -> str:
    if not addition:
        return document
    at = document.lower().rfind("</body")
    return document + addition if at < 0 else document[:at] + addition + document[at:]
