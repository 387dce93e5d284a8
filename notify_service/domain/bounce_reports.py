"""Mails about mails: reports of delivery (RFC 3464) and of complaints (RFC 5965), and bounces in no form at all.

Anybody can send such a mail. Who has not had ours knows neither its return path nor its Message-ID: a report that shows
neither says nothing.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from email import message_from_bytes
from email.message import Message as Mail
from email.utils import parseaddr, parsedate_to_datetime
from typing import Any
from uuid import UUID

from notify_service.domain.bounces import (
    ARRIVED,
    COMPLAINT,
    DELAYED,
    ENHANCED,
    About,
    Meaning,
    ReturnPath,
    delivery_of,
    event,
    failed,
)
from notify_service.domain.channels.inbound import Event

_CODE = re.compile(r"\b([45])[0-9]{2}[ -]")
_ABUSE = frozenset({"abuse", "opt-out"})
_ACTIONS = {"delivered": ARRIVED, "relayed": ARRIVED, "expanded": ARRIVED, "delayed": DELAYED}
_ADDRESSES = ("delivered-to", "x-original-to", "envelope-to", "to")
_MAX_ADDRESS_CHARS = 320
_MAX_TEXT = 64 * 1024
_MAX_RECIPIENTS = 100


def parse(raw: bytes, *, to: Sequence[str] = (), path: ReturnPath | None = None) -> list[Event]:
    """What a mail to our return path says of ours; nothing if it is an answer of a person or of a holiday responder.

    `to`: the recipients of its envelope, as far as they are known. Raises ValueError for what is no mail.
    """
    mail = message_from_bytes(raw)
    if not mail.keys():
        raise ValueError("This is no mail.")
    about = _about(mail, to, path)
    kind = _word(mail.get_param("report-type")) if mail.get_content_type() == "multipart/report" else ""
    if kind == "delivery-status":
        return list(_deliveries(mail, about))
    if kind == "feedback-report":
        return list(_complaints(mail, about, path))
    return list(_informal(mail, about))


def _about(mail: Mail, to: Sequence[str], path: ReturnPath | None) -> About:
    found = _read(path, [*to, *(_header(mail, name) for name in _ADDRESSES)])
    original = _original(mail) if found is None else None
    return About(found or delivery_of(_header(original, "message-id") if original else None))


def _read(path: ReturnPath | None, addresses: Iterable[str]) -> UUID | None:
    """The first address that is one of ours. A display name and brackets do not matter."""
    if path is None:
        return None
    return next((found for each in addresses if (found := path.read(parseaddr(each)[1] or each))), None)


def _deliveries(mail: Mail, about: About) -> Iterator[Event]:
    if about.correlation is None:
        return
    for block in _blocks(mail, "message/delivery-status")[:_MAX_RECIPIENTS]:
        peer = _typed(_header(block, "original-recipient")) or _typed(_header(block, "final-recipient"))
        action = _header(block, "action").lower()
        if not peer or action not in {*_ACTIONS, "failed"}:
            continue
        status = _status(_header(block, "status"), _header(block, "diagnostic-code"))
        yield event(
            _ACTIONS.get(action) or failed(status),
            about,
            key=("dsn", about.correlation, peer, action, status),
            peer=peer,
            code=status,
            at=_date(_header(block, "last-attempt-date") or _header(mail, "date")),
            data={"action": action},
        )


def _complaints(mail: Mail, about: About, path: ReturnPath | None) -> Iterator[Event]:
    for block in _blocks(mail, "message/feedback-report")[:1]:
        kind = _header(block, "feedback-type").lower()
        correlation = about.correlation or _read(path, [_header(block, "original-mail-from")])
        if kind not in _ABUSE or correlation is None:
            continue
        # Many leave the address out, and some black it out: the delivery says whose it was.
        peer = parseaddr(_header(block, "original-rcpt-to"))[1]
        yield event(
            COMPLAINT,
            About(correlation),
            key=("arf", correlation, kind),
            peer=peer[:_MAX_ADDRESS_CHARS] or None,
            code="complaint",
            at=_date(_header(block, "arrival-date") or _header(block, "received-date") or _header(mail, "date")),
            data={"feedback": kind},
        )


def _informal(mail: Mail, about: About) -> Iterator[Event]:
    """A server that knows no form of reports. What it writes for people has a code, as a rule."""
    sender = parseaddr(_header(mail, "from"))[1].partition("@")[0].lower()
    peer = parseaddr(_header(mail, "x-failed-recipients"))[1]
    if about.correlation is None or not (peer or sender in {"mailer-daemon", "postmaster"}):
        return
    text = " ".join(_texts(mail))[:_MAX_TEXT]
    found, code = ENHANCED.search(text), _CODE.search(text)
    if found is None and code is None:
        return
    status = found[0] if found else f"{code[1]}.0.0" if code else ""
    meaning: Meaning = DELAYED if status.startswith("4") else failed(status)
    yield event(
        meaning,
        about,
        key=("bounce", about.correlation, status),
        peer=peer or None,
        code=status,
        at=_date(_header(mail, "date")),
    )


def _status(said: str, diagnostic: str) -> str:
    """The more exact of the two. `5.0.0` says no more than that it failed."""
    first, second = ENHANCED.search(said), ENHANCED.search(diagnostic)
    if first and not first[0].endswith(".0.0"):
        return first[0]
    if second:
        return second[0]
    code = _CODE.search(diagnostic)
    return first[0] if first else f"{code[1]}.0.0" if code else "5.0.0"


def _blocks(mail: Mail, kind: str) -> list[Mail]:
    """Groups of headers, in which reports are written."""
    for part in mail.walk():
        if part.get_content_type() == kind:
            payload = part.get_payload()
            return [each for each in payload if isinstance(each, Mail)] if isinstance(payload, list) else _read_as(part)
    return []


def _read_as(part: Mail) -> list[Mail]:
    """The standard library parses reports of delivery, and no others."""
    content = part.get_payload(decode=True)
    return [message_from_bytes(content)] if isinstance(content, bytes) else []


def _original(mail: Mail) -> Mail | None:
    """What came back of our mail: all of it, or its headers."""
    for part in mail.walk():
        kind = part.get_content_type()
        if kind == "message/rfc822" and part is not mail:
            payload = part.get_payload()
            return payload[0] if isinstance(payload, list) and isinstance(payload[0], Mail) else None
        if kind in {"text/rfc822-headers", "message/rfc822-headers"}:
            return next(iter(_read_as(part)), None)
    return None


def _texts(mail: Mail) -> Iterator[str]:
    for part in mail.walk():
        if part.get_content_type() == "text/plain":
            content = part.get_payload(decode=True)
            yield content.decode("utf-8", "replace") if isinstance(content, bytes) else ""


def _typed(value: str) -> str:
    """Of `rfc822; ada@example.test` the address."""
    address = value.partition(";")[2].strip().strip("<>")
    return address if "@" in address and len(address) <= _MAX_ADDRESS_CHARS and address.isprintable() else ""


def _header(mail: Mail, name: str) -> str:
    value = str(mail.get(name, ""))
    return " ".join(value.encode("ascii", "replace").decode().split())


def _word(value: Any) -> str:
    return value.lower() if isinstance(value, str) else ""


def _date(value: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return found if found.tzinfo else None
