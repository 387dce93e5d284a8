"""The mail provider: STARTTLS, then AUTH, then messages, and every failure that was scripted."""
# ruff: noqa: N802, PLR0917  -- the names and arguments by which aiosmtpd calls a handler

import asyncio
import contextlib
import hmac
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, AnyStr, cast

import structlog
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword, Session
from aiosmtpd.smtp import Envelope as Transaction

from deploy.sandbox.certificates import Certificate
from deploy.sandbox.effects import Effects
from deploy.sandbox.faults import Fault, Faults
from deploy.sandbox.imap_folder import Folder
from deploy.sandbox.mailbox import Envelope, Mailbox, read
from deploy.sandbox.smtp_rules import NO_PASSWORDS, PRESETS, TOO_MANY_CONNECTIONS, Allowance, Preset
from deploy.sandbox.smtp_tokens import XOAUTH2_REFUSED, Tokens, credentials
from libs.clock import Clock
from libs.ids import uuid7

log = structlog.get_logger(__name__)

PROVIDER = "smtp"
MAX_MESSAGE_BYTES = 10 * 1024 * 1024
# How long a client may take to notice that the server goes away.
CLOSING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class SmtpOptions:
    user: str
    password: str
    max_message_bytes: int = MAX_MESSAGE_BYTES
    max_messages_per_connection: int | None = None
    max_connections: int | None = None
    rules: Preset = "none"


@dataclass(frozen=True, slots=True)
class Postbox:
    """Where the server puts what it accepts, and the script that it follows."""

    mailbox: Mailbox
    faults: Faults
    effects: Effects
    clock: Clock
    allowance: Allowance
    tokens: Tokens
    returned: Folder
    """The mailbox of all return paths, which IMAP shows."""


def open_postbox(options: SmtpOptions, clock: Clock) -> Postbox:
    """An empty one."""
    postbox = Postbox(
        Mailbox(),
        Faults(),
        Effects(clock),
        clock,
        allowance=Allowance(clock),
        tokens=Tokens(options.user, clock),
        returned=Folder(),
    )
    postbox.allowance.rules = PRESETS[options.rules]
    return postbox


class Connection(SMTP):
    """One client. Outlives the protocol's own session, which RFC 3207 restarts at STARTTLS."""

    def __init__(self, handler: "Handler", *, ended: Callable[["Connection"], None], **settings: Any) -> None:
        super().__init__(handler, **settings)
        self.accepted = 0
        self._ended = ended

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._ended(self)

    async def push(self, status: AnyStr) -> None:
        await super().push(status)
        code = status[:3]
        # RFC 5321, 3.8: 421 announces that the server closes the channel.
        if code in {"421", b"421"}:
            self._writer.close()

    def say_goodbye(self) -> None:
        # Accepted and not yet connected, or already on its way out.
        if self.transport is None or self.transport.is_closing():
            return
        self._client().write(b"421 4.3.2 the server is closing\r\n")
        self._client().close()

    async def vanish(self) -> None:
        """Close without a word. Never returns: losing the connection cancels the conversation."""
        self.cut_off()
        await asyncio.get_running_loop().create_future()

    def cut_off(self) -> None:
        # A TLS transport that is closing waits for its peer; the socket below it does not.
        transport = self._original_transport or self.transport
        if transport is not None:
            cast(asyncio.WriteTransport, transport).abort()

    def _client(self) -> asyncio.WriteTransport:
        return cast(asyncio.WriteTransport, self.transport)


class Handler:
    """The decisions of the conversation; aiosmtpd calls these by name and sends what they return."""

    def __init__(self, options: SmtpOptions, postbox: Postbox) -> None:
        self.connections: set[Connection] = set()
        self._options = options
        self._postbox = postbox

    def authenticate(
        self,
        server: Connection,
        session: Session,
        transaction: Transaction,
        mechanism: str,
        given: LoginPassword,
    ) -> AuthResult:
        del server, session, transaction
        if not self._postbox.allowance.may_sign_in_with_password():
            return AuthResult(success=False, handled=False, message=NO_PASSWORDS)
        # Both are compared whatever the first says, in constant time.
        user = hmac.compare_digest(given.login, self._options.user.encode())
        password = hmac.compare_digest(given.password, self._options.password.encode())
        if not (user and password):
            log.info("smtp_login_refused", mechanism=mechanism)
        return AuthResult(success=user and password, handled=False, auth_data=given)

    async def auth_XOAUTH2(self, server: Connection, args: list[str]) -> AuthResult:
        """A refusal is a challenge first (developers.google.com/workspace/gmail/imap/xoauth2-protocol)."""
        user, token = credentials(args[1] if len(args) > 1 else "")
        if self._postbox.tokens.knows(user, token):
            return AuthResult(success=True, auth_data=LoginPassword(user.encode(), b""))
        log.info("smtp_login_refused", mechanism="XOAUTH2")
        await server.challenge_auth(XOAUTH2_REFUSED)
        return AuthResult(success=False, handled=False)

    async def handle_EHLO(
        self, server: Connection, session: Session, transaction: Transaction, host: str, replies: list[str]
    ) -> list[str]:
        del server, transaction
        session.host_name = host
        # Commands are read one by one from a buffer, so a client may send them without waiting (RFC 2920).
        return [replies[0], "250-PIPELINING", "250-ENHANCEDSTATUSCODES", *replies[1:]]

    async def handle_MAIL(
        self, server: Connection, session: Session, transaction: Transaction, address: str, options: list[str]
    ) -> str:
        login = _login(session)
        others = sum(each is not server and _login(each.session) == login for each in self.connections)
        if not self._postbox.allowance.may_connect(others):
            return TOO_MANY_CONNECTIONS
        limit = self._options.max_messages_per_connection
        if limit is not None and server.accepted >= limit:
            return "421 4.7.0 too many messages in one connection"
        transaction.mail_from = address
        transaction.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(
        self, server: Connection, session: Session, transaction: Transaction, address: str, options: list[str]
    ) -> str:
        del session
        fault = self._postbox.faults.take([address], after_data=False)
        refusal = await self._strike(server, fault, (address,))
        if refusal:
            return refusal
        transaction.rcpt_tos.append(address)
        transaction.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: Connection, session: Session, transaction: Transaction) -> str:
        recipients = tuple(transaction.rcpt_tos)
        allowance = self._postbox.allowance
        if refusal := allowance.refusal(_login(session)):
            self._postbox.effects.add(PROVIDER, "refused", recipients=recipients, data={"reply": refusal})
            return refusal
        if not allowance.count(_login(session)):
            self._postbox.effects.add(PROVIDER, "delayed", recipients=recipients, data={})
        fault = self._postbox.faults.take(recipients, after_data=True)
        refused = fault is not None and bool(fault.reply or fault.drop)
        if fault is None or fault.keep or not refused:
            self._deliver(session, transaction)
            server.accepted += 1
        return await self._strike(server, fault, recipients) or "250 2.0.0 OK"

    async def handle_exception(self, error: Exception) -> str:
        # A client that does not trust the certificate, or speaks nonsense, must not end the simulator.
        log.warning("smtp_conversation_failed", error=repr(error))
        return "451 4.3.0 the conversation failed"

    async def _strike(self, server: Connection, fault: Fault | None, recipients: tuple[str, ...]) -> str | None:
        if fault is None:
            return None
        if fault.delay_ms:
            await asyncio.sleep(fault.delay_ms / 1000)
        if fault.reply or fault.drop:
            note = {"reply": None if fault.drop else fault.reply, "after_data": fault.after_data}
            self._postbox.effects.add(PROVIDER, "refused", recipients=recipients, data=note)
        if fault.drop:
            await server.vanish()
        return fault.reply

    def _deliver(self, session: Session, transaction: Transaction) -> None:
        login = _login(session)
        cipher = session.ssl["cipher"] if session.ssl else None
        envelope = Envelope(
            sender=_printable(transaction.mail_from or ""),
            recipients=tuple(_printable(address) for address in transaction.rcpt_tos),
            login=login,
            tls=cipher[1] if cipher else "",
        )
        mail = read(
            transaction.original_content or b"",
            envelope,
            id=str(uuid7()),
            received_at=self._postbox.clock.now(),
        )
        self._postbox.mailbox.add(mail)
        self._postbox.effects.add(
            PROVIDER,
            "delivered",
            recipients=envelope.recipients,
            data={"message": mail.id},
        )
        log.info("smtp_message_accepted", message=mail.id, size=len(mail.raw))


class SmtpServer:
    def __init__(self, options: SmtpOptions, postbox: Postbox, certificate: Certificate) -> None:
        self._options = options
        self._certificate = certificate
        self._handler = Handler(options, postbox)
        self._connections = self._handler.connections
        self._ended = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self, listener: socket.socket) -> None:
        self._server = await asyncio.get_running_loop().create_server(self._connection, sock=listener)

    async def stop(self) -> None:
        """Stop accepting, tell everyone still there (421), and cut off who does not hang up."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._connections):
            connection.say_goodbye()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._alone(), CLOSING_SECONDS)
        for connection in list(self._connections):
            connection.cut_off()
        await self._server.wait_closed()

    async def _alone(self) -> None:
        while self._connections:
            self._ended.clear()
            await self._ended.wait()

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._ended.set()

    def _connection(self) -> asyncio.BaseProtocol:
        limit = self._options.max_connections
        if limit is not None and len(self._connections) >= limit:
            return _Full()
        connection = Connection(
            self._handler,
            ended=self._forget,
            hostname="sandbox",
            ident="Parley sandbox",
            loop=asyncio.get_running_loop(),
            data_size_limit=self._options.max_message_bytes,
            enable_SMTPUTF8=True,
            tls_context=self._certificate.context,
            require_starttls=True,
            auth_required=True,
            authenticator=self._handler.authenticate,
        )
        self._connections.add(connection)
        return connection


class _Full(asyncio.Protocol):
    """The answer to one connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        client = cast(asyncio.WriteTransport, transport)
        client.write(b"421 4.3.2 too many connections\r\n")
        client.close()


def _login(session: Session | None) -> str:
    given = session.auth_data if session else None
    return given.login.decode(errors="replace") if given else ""


def _printable(address: str) -> str:
    """Addresses may hold bytes that are not UTF-8; pages and JSON cannot."""
    return address.encode("utf-8", "replace").decode()
