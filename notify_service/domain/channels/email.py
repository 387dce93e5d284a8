"""E-mail over SMTP: STARTTLS or TLS from the first byte, connections that are kept and shared by many messages."""

import re
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from notify_service.domain import templates
from notify_service.domain.channels import (
    CannotOpen,
    Capability,
    ErrorClass,
    Message,
    Outcome,
    Problem,
    Provider,
    Setup,
)
from notify_service.domain.channels.email_account import (
    PRESETS,
    Account,
    Config,
    Preset,
    Secrets,
    account,
    account_of,
    checked,
)
from notify_service.domain.channels.email_errors import ERRORS, lost, outcome_of, unopened
from notify_service.domain.channels.email_smtp import (
    CannotSecure,
    Lost,
    Place,
    Refused,
    Reply,
    Wire,
    connect,
    sign_in,
    sign_in_with_token,
)
from notify_service.domain.content import Content
from notify_service.domain.form_letters import FormLetters
from notify_service.domain.letters import body_of, deliverable, heading
from notify_service.domain.templates.kinds import safe_name

# What most servers name in their answer, `2.0.0 Ok: queued as 4XyZ`, and Amazon's `Ok 0102018f-...`.
_QUEUED = re.compile(r"(?:queued as|^Ok) ([\w.-]{1,80})", re.IGNORECASE)
_GOODBYE_SECONDS = 2.0

CAPABILITY = Capability(
    channel="email",
    provider="smtp",
    lines=4,
    address="email",
    subject_max=200,
    markup="html",
    interchangeable=True,
    errors=ERRORS,
)

__all__ = ["PROVIDER", "Account", "Connection", "Email", "Letter", "account"]


class Letter(NamedTuple):
    """A mail with what stands on its envelope."""

    sender: str
    content: bytes


class Email:
    """The channel of one account."""

    fills = True

    def __init__(self, account: Account) -> None:
        self._account = account
        self._form_letters = FormLetters()
        preset = account.preset
        self.capability = replace(CAPABILITY, lines=account.connections, rates=preset.rates, quota=preset.quota)

    def render(self, message: Message) -> Letter:
        account = self._account
        if message.content is not None:
            name = ""
            written = self._form_letters.of(message.content).filled(message.variables)
            subject, body = written.subject, written.body
        else:
            mail = templates.render(message.template or "", message.variables, message.secret, message.unsubscribe)
            name = safe_name(str(message.variables.get("name", "")))
            subject, body = mail.subject, body_of(mail)
        headers = heading(
            message.id,
            account.sender,
            to=(name, message.address),
            subject=subject,
            at=message.at,
            unsubscribe=message.unsubscribe,
        )
        if account.mark is not None:
            headers += f"{account.mark}: {message.id}\r\n".encode("ascii")
        headers += body.headers
        signature = account.signer.sign(headers, body.content, message.at) if account.signer else b""
        back = account.return_path.of(message.id) if account.return_path else account.sender.address
        return Letter(back, b"".join((signature, headers, b"\r\n", body.content)))

    def line(self) -> "Connection":
        return Connection(self._account)


class Connection:
    """One SMTP connection, opened when needed and closed after so many messages."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._wire: Wire | None = None
        self._sent = 0
        self._written = False

    async def open(self) -> None:
        if self._wire is not None and self._wire.alive and self._sent < self._account.messages_per_connection:
            return
        await self.close()
        try:
            self._wire = await self._signed_in()
        except Refused as error:
            raise CannotOpen(unopened(error.reply, signing_in=error.signing_in)) from error
        except (ssl.SSLError, CannotSecure) as error:
            raise CannotOpen(_unsafe(error)) from error
        except (Lost, OSError) as error:
            raise CannotOpen(Outcome(ErrorClass.UNREACHABLE, "no_connection")) from error
        self._sent = 0

    async def send(self, address: str, payload: Letter) -> Outcome:
        outcome = await self._send(address, payload)
        if self._sent > 0 and not self._written and self._wire is None:
            # Servers close connections that were idle or busy for long. The message was not begun: a new one may
            # take it at once.
            try:
                await self.open()
            except CannotOpen as error:
                return error.outcome
            outcome = await self._send(address, payload)
        return outcome

    async def close(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.leave(_GOODBYE_SECONDS)

    async def _signed_in(self) -> Wire:
        account = self._account
        wire = await connect(_place(account))
        try:
            if account.user is None:
                return wire
            if account.tokens is None:
                await sign_in(wire, account.user, account.password or "")
                return wire
            token = await account.tokens.current()
            try:
                await sign_in_with_token(wire, account.user, token)
            except Refused as error:
                if error.reply.code < 500:
                    raise
                # It may have been taken back before its time. A server that has said no may not listen any more.
                account.tokens.refused(token)
                wire.abort()
                wire = await connect(_place(account))
                await sign_in_with_token(wire, account.user, await account.tokens.current())
        except BaseException:
            wire.abort()
            raise
        return wire

    async def _send(self, address: str, letter: Letter) -> Outcome:
        self._written = False
        wire = self._wire
        if wire is None:
            return lost(written=False)
        try:
            outcome = await self._offer(wire, deliverable(address), letter)
        except Lost:
            outcome = lost(written=self._written)
        if outcome.error is None:
            self._sent += 1
        else:
            await self._recover(wire, outcome)
        return outcome

    async def _offer(self, wire: Wire, address: str, letter: Letter) -> Outcome:
        """The envelope in one go where the server takes that (RFC 2920); the message only after it has said 354."""
        limit = wire.extensions.get("SIZE", "")
        if limit.isdecimal() and 0 < int(limit) < len(letter.content):
            return Outcome(ErrorClass.PERMANENT, "too_large")
        size = f" SIZE={len(letter.content)}" if "SIZE" in wire.extensions else ""
        commands = (f"MAIL FROM:<{letter.sender}>{size}\r\n", f"RCPT TO:<{address}>\r\n", "DATA\r\n")
        replies = await _asked(wire, [command.encode("ascii") for command in commands])
        refused = next((index for index, reply in enumerate(replies) if not reply.good), None)
        if refused is not None:
            if len(replies) == len(commands) and replies[-1].code == 354:
                # A server that waits for a message to nobody gets an empty one.
                await wire.ask(b".\r\n")
            return outcome_of(replies[refused], sender=refused == 0)
        if replies[-1].code != 354:
            raise Lost
        self._written = True
        answer = (await wire.ask(_stuffed(letter.content) + b".\r\n"))[0]
        if answer.code >= 400:
            return outcome_of(answer)
        if answer.code != 250:
            raise Lost
        found = _QUEUED.search(answer.text)
        return Outcome(provider_id=found.group(1) if found else None)

    async def _recover(self, wire: Wire, outcome: Outcome) -> None:
        """Makes the connection ready for the next message, or gives it up."""
        broken = outcome.code in ("no_answer", "connection_lost") or outcome.error is ErrorClass.THROTTLE
        if broken or not await _reset(wire):
            wire.abort()
            self._wire = None


async def _asked(wire: Wire, commands: Sequence[bytes]) -> Sequence[Reply]:
    """Replies in the order of the commands; none to those that had no sense any more."""
    if "PIPELINING" in wire.extensions:
        return await wire.ask(b"".join(commands), len(commands))
    replies: list[Reply] = []
    for command in commands:
        replies += await wire.ask(command)
        if not replies[-1].good:
            break
    return replies


async def _reset(wire: Wire) -> bool:
    try:
        return (await wire.ask(b"RSET\r\n"))[0].good
    except Lost:
        return False


def _place(account: Account) -> Place:
    return Place(
        host=account.host,
        port=account.port,
        tls=account.tls,
        starttls=account.starttls,
        context=account.context,
        # A look-up of our own name may hang where there is no name server.
        name=account.sender.domain,
        timeout=account.timeout,
    )


def _unsafe(error: Exception) -> Outcome:
    if isinstance(error, CannotSecure) and error.args == ("no_mechanism",):
        return Outcome(ErrorClass.AUTH, "no_mechanism")
    return Outcome(ErrorClass.UNREACHABLE, "tls_failed")


def _stuffed(content: bytes) -> bytes:
    """RFC 5321, 4.5.2: a line that begins with a dot gets another one, for a dot alone ends the message."""
    return re.sub(rb"(?m)^\.", b"..", content) if b"\n." in content or content.startswith(b".") else content


def _opened(setup: Setup) -> Email:
    return Email(account_of(setup))


def _problems(content: Content) -> Iterator[Problem]:
    if content.subject is None:
        yield Problem("content.subject", "A mail has a subject.")


def _able(config: Config) -> Capability:
    preset = PRESETS.get(config.preset or "", Preset({}))
    return replace(CAPABILITY, lines=config.connections, rates=preset.rates, quota=preset.quota)


PROVIDER = Provider(
    capability=CAPABILITY,
    able=_able,
    config=Config,
    secrets=Secrets,
    open=_opened,
    check_address=checked,
    check_content=lambda content: list(_problems(content)),
)
