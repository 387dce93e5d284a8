"""What mail servers write back to the return path: reports of delivery (RFC 3464) and of complaints (RFC 5965)."""

from collections.abc import Sequence
from datetime import datetime
from email.utils import format_datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from deploy.sandbox.mailbox import Envelope, Mail, read
from libs.ids import uuid7

SERVER = "mx.sandbox.test"
BOUNDARY = "report-of-the-sandbox"


class Bounce(BaseModel):
    """How a mail comes back."""

    model_config = ConfigDict(extra="forbid")

    action: Literal["failed", "delayed", "delivered", "relayed", "expanded"] = "failed"
    status: str = Field("5.1.1", pattern=r"^[245]\.[0-9]{1,3}\.[0-9]{1,3}$")
    diagnostic: str = Field("550 5.1.1 No such user here", pattern=r"^[\x20-\x7e]{1,400}$")


class Complaint(BaseModel):
    """How somebody complains."""

    model_config = ConfigDict(extra="forbid")

    feedback: Literal["abuse", "fraud", "virus", "not-spam", "other"] = "abuse"
    redacted: bool = Field(default=False, description="Without the address of who complains.")


def bounced(mail: Mail, bounce: Bounce, at: datetime) -> Mail:
    """As it arrives at the return path."""
    status = ["Reporting-MTA: dns; " + SERVER, f"Arrival-Date: {format_datetime(mail.received_at)}"]
    for recipient in mail.envelope.recipients:
        status += [
            "",
            f"Final-Recipient: rfc822; {recipient}",
            f"Action: {bounce.action}",
            f"Status: {bounce.status}",
            f"Diagnostic-Code: smtp; {bounce.diagnostic}",
            f"Last-Attempt-Date: {format_datetime(at)}",
        ]
    headers = mail.raw.partition(b"\r\n\r\n")[0] + b"\r\n"
    parts = [
        ("text/plain", _lines([f"Your message is {bounce.action}.", bounce.diagnostic])),
        ("message/delivery-status", _lines(status)),
        ("text/rfc822-headers", headers),
    ]
    return _arrived(mail, "delivery-status", parts, at)


def complained(mail: Mail, complaint: Complaint, at: datetime) -> Mail:
    """The same for a complaint."""
    feedback = [
        f"Feedback-Type: {complaint.feedback}",
        "User-Agent: Parley sandbox/1",
        "Version: 1",
        f"Original-Mail-From: <{mail.envelope.sender}>",
        f"Arrival-Date: {format_datetime(mail.received_at)}",
    ]
    if not complaint.redacted:
        feedback += [f"Original-Rcpt-To: <{recipient}>" for recipient in mail.envelope.recipients]
    parts = [
        ("text/plain", b"Somebody does not want this message.\r\n"),
        ("message/feedback-report", _lines(feedback)),
        ("message/rfc822", mail.raw),
    ]
    return _arrived(mail, "feedback-report", parts, at)


def _arrived(mail: Mail, kind: str, parts: Sequence[tuple[str, bytes]], at: datetime) -> Mail:
    head = [
        f"From: Mail Delivery System <mailer-daemon@{SERVER}>",
        f"To: <{mail.envelope.sender}>",
        f"Subject: Report about {mail.id}",
        f"Date: {format_datetime(at)}",
        f"Message-ID: <{uuid7()}@{SERVER}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type="{kind}"; boundary="{BOUNDARY}"',
        "",
    ]
    written = [_lines([f"--{BOUNDARY}", f"Content-Type: {type_}", ""]) + content for type_, content in parts]
    raw = _lines(head) + b"".join(part + b"\r\n" for part in written) + _lines([f"--{BOUNDARY}--"])
    envelope = Envelope(sender="", recipients=(mail.envelope.sender,), login="", tls="")
    return read(raw, envelope, id=str(uuid7()), received_at=at)


def _lines(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode()
