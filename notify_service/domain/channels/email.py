"""E-mail over SMTP: STARTTLS or TLS from the first byte, connections that are kept and shared by many messages."""

import re
import ssl
from dataclasses import dataclass, field
from email.utils import parseaddr
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib
from aiosmtplib import SMTPException, SMTPResponseException

from notify_service.domain import templates
from notify_service.domain.channels import CannotOpen, Capability, ErrorClass, Line, Message, Outcome
from notify_service.domain.letters import Sender, compose, deliverable
from notify_service.domain.templates.kinds import safe_name

_ENHANCED = re.compile(r"\s*([245]\.\d{1,3}\.\d{1,3})\b")
_HERE = ("127.0.0.1", "::1", "localhost")
_DAY_LIMIT_PAUSE = 3600.0

# Codes whose meaning is not what their first digit says. The second part may be missing.
_SPECIAL: dict[tuple[int, str | None], tuple[ErrorClass, float | None]] = {
    (421, None): (ErrorClass.THROTTLE, None),
    (432, "4.3.2"): (ErrorClass.THROTTLE, None),  # Exchange Online: more than three connections
    (454, "4.7.0"): (ErrorClass.THROTTLE, None),
    (530, None): (ErrorClass.AUTH, None),
    (534, None): (ErrorClass.AUTH, None),
    (535, None): (ErrorClass.AUTH, None),
    (538, None): (ErrorClass.AUTH, None),
    (550, "5.4.5"): (ErrorClass.THROTTLE, _DAY_LIMIT_PAUSE),  # Gmail: messages a day used up
    (550, "5.7.30"): (ErrorClass.AUTH, None),  # Exchange Online: basic authentication switched off
    (554, "5.2.0"): (ErrorClass.THROTTLE, _DAY_LIMIT_PAUSE),  # Exchange Online: recipients a day used up
}


@dataclass(frozen=True)
class Account:
    """Where mails are handed over, and as whom."""

    host: str
    port: int
    user: str | None
    password: str | None = field(repr=False)
    tls: bool
    starttls: bool
    context: ssl.SSLContext | None
    sender: Sender
    connections: int = 4
    messages_per_connection: int = 100
    timeout: float = 60.0


def account(url: str, *, mail_from: str, ca_file: Path | None = None, **limits: float) -> Account:
    """Reads `smtp://user:password@host:port?starttls=required|off&certificate=/path.pem` or `smtps://...`.

    Raises ValueError for a URL that says something else, and for a password that would travel in the clear.
    """
    parts = urlsplit(url)
    options = {name: values[-1] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}
    starttls = options.pop("starttls", "required")
    certificate = options.pop("certificate", None) or ca_file
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or options or starttls not in ("required", "off"):
        raise ValueError("A mail server is smtp://user:password@host:port?starttls=required|off&certificate=/path.pem.")
    tls = parts.scheme == "smtps"
    encrypted = tls or starttls == "required"
    if parts.username and not encrypted and parts.hostname not in _HERE:
        raise ValueError("starttls=off would send the mail server's password in the clear.")
    name, address = parseaddr(mail_from)
    if "@" not in address or not address.isascii():
        raise ValueError("The sender of mails is `Name <address>` or an address.")
    return Account(
        host=parts.hostname,
        port=parts.port or (465 if tls else 587),
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password or "") if parts.username else None,
        tls=tls,
        starttls=not tls and starttls == "required",
        context=_context(certificate) if encrypted else None,
        sender=Sender(name, address),
        connections=int(limits["connections"]),
        messages_per_connection=int(limits["messages_per_connection"]),
        timeout=limits["timeout"],
    )


def _context(certificate: str | Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if certificate:
        context.load_verify_locations(cafile=certificate)
    return context


class Email:
    """The channel of one account."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.capability = Capability(channel="email", provider="smtp", lines=account.connections)

    def render(self, message: Message) -> bytes:
        mail = templates.render(message.template, message.variables, message.secret)
        name = safe_name(str(message.variables.get("name", "")))
        return compose(message.id, self._account.sender, to=(name, message.address), mail=mail, at=message.at)

    def line(self) -> Line:
        return Connection(self._account)


def classify(error: Exception, *, written: bool) -> Outcome:
    """What a failure means. `written`: the message was handed over to the last dot, so no answer may mean success."""
    # aiosmtplib gives codes of its own, below 200, to answers that it cannot read.
    if isinstance(error, SMTPResponseException) and error.code >= 400:
        return _of_code(error.code, error.message, sender=isinstance(error, aiosmtplib.SMTPSenderRefused))
    if written:
        return Outcome(ErrorClass.AMBIGUOUS, "no_answer")
    return Outcome(ErrorClass.TRANSIENT, "connection_lost")


def _of_code(code: int, text: str, *, sender: bool = False) -> Outcome:
    found = _ENHANCED.match(text)
    enhanced = found.group(1) if found else None
    shown = f"{code} {enhanced}" if enhanced else str(code)
    special = _SPECIAL.get((code, enhanced)) or _SPECIAL.get((code, None))
    if special:
        return Outcome(special[0], shown, pause_seconds=special[1])
    if sender and code >= 500:
        # Our own address is refused: every message would fail, and none of them is to blame.
        return Outcome(ErrorClass.AUTH, shown)
    return Outcome(ErrorClass.PERMANENT if code >= 500 else ErrorClass.TRANSIENT, shown)


class Connection:
    """One SMTP connection, opened when needed and closed after so many messages."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._client: aiosmtplib.SMTP | None = None
        self._sent = 0
        self._written = False

    async def open(self) -> None:
        if self._client is not None and self._client.is_connected:
            if self._sent < self._account.messages_per_connection:
                return
            await self.close()
        self._client = None
        client = self._new_client()
        try:
            await client.connect()
        except (SMTPException, OSError) as error:
            client.close()
            raise CannotOpen(_unopened(error)) from error
        self._client = client
        self._sent = 0

    async def send(self, address: str, payload: bytes) -> Outcome:
        outcome = await self._send(address, payload)
        if self._sent > 0 and not self._written and self._client is None:
            # Servers close connections that were idle or busy for long. The message was not begun: a new one may
            # take it at once.
            try:
                await self.open()
            except CannotOpen as error:
                return error.outcome
            outcome = await self._send(address, payload)
        return outcome

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        try:
            if client.is_connected:
                await client.quit(timeout=2)
        except (SMTPException, OSError):
            pass
        finally:
            client.close()

    async def _send(self, address: str, payload: bytes) -> Outcome:
        self._written = False
        client = self._client
        if client is None or not client.is_connected:
            self._drop()
            return Outcome(ErrorClass.TRANSIENT, "connection_lost")
        try:
            await client.mail(self._account.sender.address)
            await client.rcpt(deliverable(address))
            answer = await self._data(client, payload)
        except (SMTPException, OSError) as error:
            outcome = classify(error, written=self._written)
            await self._recover(client, outcome)
            return outcome
        self._sent += 1
        return Outcome(provider_id=_queue_id(answer.message))

    async def _data(self, client: aiosmtplib.SMTP, payload: bytes) -> aiosmtplib.SMTPResponse:
        """DATA in two steps: whether the last dot was on its way decides what a lost connection means."""
        begin = await client.execute_command(b"DATA")
        protocol = client.protocol
        if begin.code != 354 or protocol is None:
            raise aiosmtplib.SMTPDataError(begin.code, begin.message)
        protocol.write(_stuffed(payload))
        self._written = True
        answer = await protocol.read_response(timeout=self._account.timeout)
        if answer.code != 250:
            raise aiosmtplib.SMTPDataError(answer.code, answer.message)
        return answer

    async def _recover(self, client: aiosmtplib.SMTP, outcome: Outcome) -> None:
        """Makes the connection ready for the next message, or gives it up."""
        broken = outcome.code in ("no_answer", "connection_lost") or outcome.error is ErrorClass.THROTTLE
        if broken or not client.is_connected:
            self._drop()
            return
        try:
            await client.rset()
        except (SMTPException, OSError):
            self._drop()

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    def _new_client(self) -> aiosmtplib.SMTP:
        account = self._account
        return aiosmtplib.SMTP(
            hostname=account.host,
            port=account.port,
            username=account.user,
            password=account.password,
            # The default is a look-up of our own name, which may hang where there is no name server.
            local_hostname=account.sender.domain,
            timeout=account.timeout,
            use_tls=account.tls,
            start_tls=account.starttls,
            tls_context=account.context,
        )


def _unopened(error: Exception) -> Outcome:
    if isinstance(error, SMTPResponseException) and error.code >= 400:
        outcome = _of_code(error.code, error.message)
        refused = isinstance(error, aiosmtplib.SMTPAuthenticationError) and error.code >= 500
        if outcome.error is ErrorClass.AUTH or refused:
            return Outcome(ErrorClass.AUTH, outcome.code)
        return Outcome(ErrorClass.UNREACHABLE, outcome.code, pause_seconds=outcome.pause_seconds)
    if isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError):
        return Outcome(ErrorClass.UNREACHABLE, "tls_failed")
    return Outcome(ErrorClass.UNREACHABLE, "no_connection")


def _stuffed(payload: bytes) -> bytes:
    """RFC 5321, 4.5.2: a line that begins with a dot gets another one, for a dot alone ends the message."""
    return re.sub(rb"(?m)^\.", b"..", payload) + b".\r\n"


def _queue_id(text: str) -> str | None:
    """What most servers name in their answer: `2.0.0 Ok: queued as 4XyZ`."""
    found = re.search(r"queued as ([\w.-]{1,64})", text, re.IGNORECASE)
    return found.group(1) if found else None
