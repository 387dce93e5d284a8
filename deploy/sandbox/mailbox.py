"""Messages in memory, as the web mailbox and the JSON API show them."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesParser
from email.policy import Compat32
from typing import Any

from libs.clock import rfc3339

KEPT_MESSAGES = 1_000
KEPT_BYTES = 128 * 1024 * 1024


class Lenient(Compat32):
    """Headers as text for people: encoded words and raw UTF-8 are decoded, broken ones shown as sent."""

    def header_fetch_parse(self, name: str, value: str) -> str:
        del name
        # The parser hides bytes beyond ASCII as surrogates, which no page or JSON document can carry.
        text = value.encode("ascii", "surrogateescape").decode("utf-8", "replace")
        try:
            decoded = str(make_header(decode_header(text)))
        except (HeaderParseError, LookupError, ValueError):
            decoded = text
        return " ".join(decoded.encode("utf-8", "replace").decode().split())


@dataclass(frozen=True, slots=True)
class Attachment:
    filename: str
    content_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Envelope:
    """What SMTP said, which may differ from what the headers say."""

    sender: str
    recipients: tuple[str, ...]
    login: str
    tls: str


@dataclass(frozen=True, slots=True)
class Mail:
    id: str
    received_at: datetime
    envelope: Envelope
    raw: bytes
    headers: tuple[tuple[str, str], ...]
    subject: str
    text: str | None
    html: str | None
    attachments: tuple[Attachment, ...]

    def summary(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "received_at": rfc3339(self.received_at),
            "from": self.envelope.sender,
            "to": list(self.envelope.recipients),
            "subject": self.subject,
            "size": len(self.raw),
        }

    def as_json(self) -> dict[str, Any]:
        return self.summary() | {
            "login": self.envelope.login,
            "tls": self.envelope.tls,
            "headers": [{"name": name, "value": value} for name, value in self.headers],
            "text": self.text,
            "html": self.html,
            "attachments": [
                {"filename": part.filename, "content_type": part.content_type, "size": part.size}
                for part in self.attachments
            ],
        }


def read(raw: bytes, envelope: Envelope, *, id: str, received_at: datetime) -> Mail:  # noqa: A002
    """Never fails: whatever a client was allowed to send can be looked at."""
    message = BytesParser(policy=Lenient()).parsebytes(raw)
    text: str | None = None
    html: str | None = None
    attachments: list[Attachment] = []
    for part in _leaves(message):
        kind = part.get_content_type()
        attached = part.get_content_disposition() == "attachment"
        if kind == "text/plain" and text is None and not attached:
            text = _decoded(part)
        elif kind == "text/html" and html is None and not attached:
            html = _decoded(part)
        else:
            attachments.append(_attachment(part))
    return Mail(
        id=id,
        received_at=received_at,
        envelope=envelope,
        raw=raw,
        headers=tuple((_clean(name), str(value)) for name, value in message.items()),
        subject=str(message.get("Subject", "")),
        text=text,
        html=html,
        attachments=tuple(attachments),
    )


class Mailbox:
    """The newest messages. Bounded in number and in bytes, since a load test may send for hours."""

    def __init__(self, *, kept: int = KEPT_MESSAGES, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept = kept
        self._kept_bytes = kept_bytes
        self._order: deque[Mail] = deque()
        self._by_id: dict[str, Mail] = {}
        self._bytes = 0

    def add(self, mail: Mail) -> None:
        self._order.append(mail)
        self._by_id[mail.id] = mail
        self._bytes += len(mail.raw)
        # The newest one stays even if it is larger than everything allowed together.
        while len(self._order) > self._kept or (self._bytes > self._kept_bytes and len(self._order) > 1):
            oldest = self._order.popleft()
            self._bytes -= len(oldest.raw)
            del self._by_id[oldest.id]

    def get(self, id: str) -> Mail | None:  # noqa: A002
        return self._by_id.get(id)

    def newest_first(self, to: str = "") -> Sequence[Mail]:
        """Those with a recipient whose address contains `to`, in any case."""
        part = to.strip().casefold()
        return [
            mail
            for mail in reversed(self._order)
            if not part or any(part in recipient.casefold() for recipient in mail.envelope.recipients)
        ]

    def clear(self) -> None:
        self._order.clear()
        self._by_id.clear()
        self._bytes = 0


def _leaves(message: "Message[Any, Any]") -> Iterator["Message[Any, Any]"]:
    return (part for part in message.walk() if not part.is_multipart())


def _decoded(part: "Message[Any, Any]") -> str:
    payload = part.get_payload(decode=True)
    octets = payload if isinstance(payload, bytes) else b""
    charset = part.get_content_charset("utf-8")
    try:
        return octets.decode(charset, "replace")
    except (LookupError, ValueError):
        return octets.decode("utf-8", "replace")


def _attachment(part: "Message[Any, Any]") -> Attachment:
    payload = part.get_payload(decode=True)
    size = len(payload) if isinstance(payload, bytes) else 0
    return Attachment(_clean(part.get_filename() or "unnamed"), _clean(part.get_content_type()), size)


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
