"""Mails as bytes (RFC 5322, MIME)."""

import re
from dataclasses import dataclass
from datetime import datetime
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from uuid import UUID

from notify_service.domain.channels import CannotRender
from notify_service.domain.templates import Mail

# Seven bits: any server takes such a message, whether or not it knows 8BITMIME.
_POLICY = SMTP.clone(cte_type="7bit")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]+")
_MAX_HEADER_CHARS = 200


@dataclass(frozen=True, slots=True)
class Sender:
    name: str
    address: str

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]


def compose(message_id: UUID, sender: Sender, *, to: tuple[str, str], mail: Mail, at: datetime) -> bytes:
    """The message as it travels. No header can be injected: each value is one line before it becomes one."""
    letter = EmailMessage(policy=_POLICY)
    try:
        letter["From"] = Address(_line(sender.name), addr_spec=sender.address)
        letter["To"] = Address(_line(to[0]), addr_spec=deliverable(to[1]))
        letter["Subject"] = _line(mail.subject)
        letter["Date"] = format_datetime(at)
        letter["Message-ID"] = f"<{message_id}@{sender.domain}>"
        # RFC 3834: keeps holiday responders from answering.
        letter["Auto-Submitted"] = "auto-generated"
        letter.set_content(_encodable(mail.text))
        letter.add_alternative(_encodable(mail.html), subtype="html")
        content = letter.as_bytes()
    except (HeaderParseError, ValueError, IndexError):
        # IndexError: how the parser of addresses ends on some that are cut short.
        raise CannotRender("bad_address") from None
    return content if content.endswith(b"\r\n") else content + b"\r\n"


def deliverable(address: str) -> str:
    """The address in ASCII. International domains have such a form, international names before the @ have none."""
    local, _, domain = address.rpartition("@")
    try:
        ascii_domain = domain.encode("idna").decode()
    except UnicodeError:
        raise CannotRender("bad_address") from None
    if not local or not ascii_domain or not local.isascii() or _UNPRINTABLE.search(address) or " " in address:
        raise CannotRender("bad_address")
    return f"{local}@{ascii_domain}"


def _line(text: str) -> str:
    """One line for a header.

    Python takes `=?utf-8?q?=0D=0ABcc:...?=` in a value for an encoded word, decodes it, and before 3.11.10 writes the
    line break out as one: a header of the caller's choice. So no encoded word is left standing.
    """
    return " ".join(_UNPRINTABLE.sub(" ", text).replace("=?", "= ?").split())[:_MAX_HEADER_CHARS]


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
