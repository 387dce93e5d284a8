"""Mails as bytes (RFC 5322, MIME).

Written here and not by the standard library, which takes a hundred times as long; its parser is what the tests compare
with. All is ASCII: bodies are quoted-printable, so any server takes them and no signature breaks on the way.
"""

import re
import unicodedata
from base64 import b64encode
from binascii import b2a_qp
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.utils import format_datetime
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from notify_service.domain.channels import CannotRender
from notify_service.domain.templates import Mail

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]+")
_MAX_HEADER_CHARS = 200
_MAX_ADDRESS_CHARS = 320
_MAX_DOMAIN_CHARS, _MAX_LABEL_CHARS = 253, 63
# Longer lines may be broken by those who pass them on (RFC 5322, 2.1.1).
_LINE_CHARS = 76
# Base64 makes 52 characters of 39 octets: with `=?utf-8?b??=` and a header's name short enough (RFC 2047, 2).
_WORD_OCTETS = 39
# Addresses of the usual kind. All others are left to the parser of the standard library.
_PLAIN_ADDRESS = re.compile(
    r"(?=.{3,254}$)[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9-]{1,63}\.)*[A-Za-z0-9-]{1,63}"
)
_PLAIN_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+/?^_`{|}~ -]{1,60}")
_PLAIN_VALUE = re.compile(r"[ !#-<>-~]{0,70}[!#-<>-~]")
_PLAIN_LINK = re.compile(r"https?://[!-;=?-~]{1,1900}")
# Quoted-printable has `=` before hexadecimal digits and line ends only: no body holds this line.
_BOUNDARY = b"=_parley"


@dataclass(frozen=True, slots=True)
class Sender:
    name: str
    address: str
    reply_to: str | None = None
    unsubscribe: str | None = None
    """A mailbox of ours that takes messages of those who want no more."""

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]


class Body(NamedTuple):
    headers: bytes
    """Those that say what kind of body it is."""
    content: bytes


def compose(message_id: UUID, sender: Sender, *, to: tuple[str, str], mail: Mail, at: datetime) -> bytes:
    """The message as it travels. No header can be injected: each value is one line before it becomes one."""
    body = body_of(mail)
    return heading(message_id, sender, to=to, subject=mail.subject, at=at) + body.headers + b"\r\n" + body.content


def heading(
    message_id: UUID,
    sender: Sender,
    *,
    to: tuple[str, str],
    subject: str,
    at: datetime,
    unsubscribe: str | None = None,
) -> bytes:
    """All headers but those of the body. `to` is a name, which may be empty, and an address. Raises CannotRender."""
    written = (
        f"{_of_sender(sender)}To: {_mailbox(*to)}\r\nSubject: {_words(subject, 9)}\r\n"
        f"Date: {_date(int(at.timestamp()))}\r\nMessage-ID: <{message_id}@{sender.domain}>\r\n"
    )
    if unsubscribe is not None:
        written += _way_out(sender, unsubscribe)
    # RFC 3834: keeps holiday responders from answering.
    return (written + "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n").encode("ascii")


def body_of(mail: Mail) -> Body:
    start, middle, end = frame(two=True)
    text, html = (_ended(quoted(lines(part))) for part in (mail.text, mail.html))
    return Body(start.headers, start.content + text + middle + html + end)


def frame(*, two: bool) -> tuple[Body, bytes, bytes]:
    """What is before the text, between it and the HTML, and behind that."""
    if not two:
        return Body(_part(b"plain"), b""), b"", b""
    headers = b'Content-Type: multipart/alternative; boundary="' + _BOUNDARY + b'"\r\n'
    line = b"--" + _BOUNDARY
    first = Body(headers, line + b"\r\n" + _part(b"plain") + b"\r\n")
    return first, b"\r\n" + line + b"\r\n" + _part(b"html") + b"\r\n", b"\r\n" + line + b"--\r\n"


def lines(text: str) -> str:
    """With one kind of line end."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def quoted(text: str) -> bytes:
    """Quoted-printable (RFC 2045, 6.7) of what `lines` made, to stand at the beginning of a line and before its end."""
    if _PLAIN_VALUE.fullmatch(text):
        return text.encode("ascii")
    return b2a_qp(text.encode("utf-8", "replace"), istext=True).replace(b"\n", b"\r\n")


def deliverable(address: str) -> str:
    """The address in ASCII. International domains have such a form, international names before the @ have none.

    Raises CannotRender.
    """
    if _PLAIN_ADDRESS.fullmatch(address):
        return address
    local, _, domain = address.rpartition("@")
    # Before it is looked at more closely, which takes milliseconds where an address is made for that.
    if len(address) > _MAX_ADDRESS_CHARS or _UNPRINTABLE.search(address) or " " in address or not local.isascii():
        raise CannotRender("bad_address")
    try:
        given = f"{local}@{_ascii(domain)}"
        # A name in quotes, or a host by its number: what is neither is plain, or no address.
        is_plain = not (local.startswith('"') or domain.startswith("["))
        if is_plain and not _PLAIN_ADDRESS.fullmatch(given):
            raise CannotRender("bad_address")
        return given if is_plain else Address(addr_spec=given).addr_spec
    except (HeaderParseError, ValueError, IndexError, AttributeError):
        # The last two: how the parser of addresses ends on some that are cut short.
        raise CannotRender("bad_address") from None


def _ascii(domain: str) -> str:
    """Raises ValueError."""
    if domain.isascii():
        return domain
    # Some characters are written as eighteen, and what is long is encoded slowly.
    known = unicodedata.normalize("NFKC", domain)
    if len(known) > _MAX_DOMAIN_CHARS or any(len(label) > _MAX_LABEL_CHARS for label in known.split(".")):
        raise ValueError
    return known.encode("idna").decode()


@lru_cache(maxsize=64)
def _of_sender(sender: Sender) -> str:
    """What is the same in all its mails."""
    answers = f"Reply-To: {_mailbox('', sender.reply_to)}\r\n" if sender.reply_to else ""
    return f"From: {_mailbox(sender.name, sender.address)}\r\n{answers}"


@lru_cache(maxsize=8)
def _date(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


def _way_out(sender: Sender, page: str) -> str:
    """One click of the reader's program, without a page in between (RFC 8058)."""
    if not _PLAIN_LINK.fullmatch(page):
        raise CannotRender("bad_unsubscribe")
    mailbox = f",\r\n <mailto:{sender.unsubscribe}>" if sender.unsubscribe else ""
    return f"List-Unsubscribe: <{page}>{mailbox}\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"


def _mailbox(name: str, address: str) -> str:
    name, address = _line(name), deliverable(address)
    if not name:
        return address
    if _PLAIN_NAME.fullmatch(name):
        return f"{name}\r\n <{address}>" if len(name) + len(address) > _LINE_CHARS - 10 else f"{name} <{address}>"
    return f"{_encoded(name)}\r\n <{address}>"


def _words(text: str, column: int) -> str:
    line = _line(text)
    return line if line.isascii() and column + len(line) <= _LINE_CHARS else _encoded(line)


def _encoded(text: str) -> str:
    """As encoded words (RFC 2047), each of whole characters."""
    words, word = [], bytearray()
    for octets in (character.encode() for character in text):
        if len(word) + len(octets) > _WORD_OCTETS:
            words.append(bytes(word))
            word.clear()
        word += octets
    return "\r\n ".join(f"=?utf-8?b?{b64encode(each).decode()}?=" for each in (*words, bytes(word)))


def _line(text: str) -> str:
    """One line for a header.

    Python takes `=?utf-8?q?=0D=0ABcc:...?=` in a value for an encoded word, decodes it, and before 3.11.10 writes the
    line break out as one: a header of the caller's choice. So no encoded word is left standing.
    """
    return " ".join(_UNPRINTABLE.sub(" ", text).replace("=?", "= ?").split())[:_MAX_HEADER_CHARS]


def _part(kind: bytes) -> bytes:
    return b"Content-Type: text/" + kind + b'; charset="utf-8"\r\nContent-Transfer-Encoding: quoted-printable\r\n'


def _ended(part: bytes) -> bytes:
    return part if part.endswith(b"\r\n") else part + b"\r\n"
