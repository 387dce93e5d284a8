"""The IMAP server of the mail provider (RFC 3501), as far as a program that reads reports needs one. TLS from the first
byte, or by STARTTLS; LOGIN with the password of SMTP, or XOAUTH2 with a token of the same endpoint."""

import asyncio
import contextlib
import hmac
import re
import shlex
import socket
import ssl
from base64 import b64encode

import structlog

from deploy.sandbox.certificates import Certificate
from deploy.sandbox.smtp import Postbox, SmtpOptions
from deploy.sandbox.smtp_tokens import XOAUTH2_REFUSED, credentials

log = structlog.get_logger(__name__)

_FETCH = re.compile(r"FETCH ([0-9]+) \(UID BODY\.PEEK\[\]<0\.([0-9]+)>\)", re.IGNORECASE)
_SEARCH = re.compile(r"SEARCH UID ([0-9]+):\*", re.IGNORECASE)
_CAPABILITY = "CAPABILITY IMAP4rev1 AUTH=XOAUTH2"
_MOST_LINE = 64 * 1024


class ImapServer:
    def __init__(
        self, options: SmtpOptions, postbox: Postbox, certificate: Certificate, *, starttls: bool = False
    ) -> None:
        self._options = options
        self._postbox = postbox
        self._certificate = certificate
        self._starttls = starttls
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()

    async def start(self, listener: socket.socket) -> None:
        first = None if self._starttls else self._certificate.context
        self._server = await asyncio.start_server(self._serve, sock=listener, ssl=first, limit=_MOST_LINE)

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for client in list(self._clients):
            client.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            session = _Session(self._options, self._postbox, reader, writer)
            await (session.encrypt(self._certificate.context) if self._starttls else session.greet())
            await session.run()
        except (OSError, EOFError, ValueError) as error:
            log.info("imap_client_lost", reason=type(error).__name__)
        finally:
            self._clients.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class _Session:
    def __init__(
        self, options: SmtpOptions, postbox: Postbox, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._options = options
        self._postbox = postbox
        self._reader = reader
        self._writer = writer
        self._signed_in = False
        self._open = False

    async def encrypt(self, context: ssl.SSLContext) -> None:
        """Until its client has asked for that, nothing else is done for it."""
        await self._say(f"* OK [{_CAPABILITY} STARTTLS LOGINDISABLED] sandbox")
        while line := (await self._reader.readline()).decode("utf-8", "replace"):
            tag, _, command = line.strip().partition(" ")
            if command.upper() == "STARTTLS":
                await self._say(f"{tag} OK go on")
                await self._writer.start_tls(context)
                return
            await self._say(f"{tag} NO [PRIVACYREQUIRED] STARTTLS first")
        raise EOFError

    async def greet(self) -> None:
        await self._say(f"* OK [{_CAPABILITY}] sandbox")

    async def run(self) -> None:
        while line := (await self._reader.readline()).decode("utf-8", "replace"):
            tag, _, command = line.strip().partition(" ")
            if command.upper() == "LOGOUT":
                await self._say("* BYE bye", f"{tag} OK done")
                return
            await self._say(f"{tag} {await self._do(command)}")

    async def _do(self, command: str) -> str:
        """How it ends; what it finds is said before."""
        word, _, rest = command.partition(" ")
        word = word.upper()
        if word == "CAPABILITY":
            await self._say(f"* {_CAPABILITY}")
            return "OK done"
        if word == "LOGIN":
            return self._login(shlex.split(rest))
        if word == "AUTHENTICATE" and rest.upper() == "XOAUTH2":
            return await self._authenticate()
        if not self._signed_in:
            return "NO sign in first"
        if word in {"EXAMINE", "SELECT"}:
            return await self._examine(rest)
        if word == "UID" and self._open:
            return await self._uid(rest)
        return "BAD what is that"

    def _login(self, given: list[str]) -> str:
        known = len(given) == 2 and all(
            hmac.compare_digest(*pair)
            for pair in (
                (given[0].encode(), self._options.user.encode()),
                (given[1].encode(), self._options.password.encode()),
            )
        )
        self._signed_in = known and self._postbox.allowance.may_sign_in_with_password()
        return "OK done" if self._signed_in else "NO [AUTHENTICATIONFAILED] Invalid credentials"

    async def _authenticate(self) -> str:
        await self._say("+ ")
        user, token = credentials((await self._reader.readline()).decode("ascii", "replace").strip())
        self._signed_in = self._postbox.tokens.knows(user, token)
        if self._signed_in:
            return "OK done"
        await self._say(f"+ {b64encode(XOAUTH2_REFUSED.encode()).decode()}")
        await self._reader.readline()
        return "NO [AUTHENTICATIONFAILED] Invalid credentials"

    async def _examine(self, folder: str) -> str:
        if shlex.split(folder) != ["INBOX"]:
            return "NO no such mailbox"
        self._open = True
        found = self._postbox.returned
        await self._say(f"* {len(found.numbers())} EXISTS", f"* OK [UIDVALIDITY {found.validity}] valid")
        return "OK [READ-ONLY] done"

    async def _uid(self, rest: str) -> str:
        folder = self._postbox.returned
        if search := _SEARCH.fullmatch(rest):
            numbers = folder.numbers()
            # `*` is the last one, and a range may be written from its end.
            first = min(int(search[1]), max(numbers, default=0))
            await self._say(" ".join(["* SEARCH", *(str(each) for each in numbers if each >= first)]))
            return "OK done"
        fetch = _FETCH.fullmatch(rest)
        if fetch is None:
            return "BAD what is that"
        number, raw = int(fetch[1]), folder.get(int(fetch[1]))
        if number in folder.broken:
            return "NO this mail cannot be read"
        if raw is not None:
            shown = raw[: int(fetch[2])]
            place = folder.numbers().index(number) + 1
            self._writer.write(f"* {place} FETCH (UID {number} BODY[]<0> {{{len(shown)}}}\r\n".encode() + shown)
            await self._say(")")
        return "OK done"

    async def _say(self, *lines: str) -> None:
        self._writer.write("".join(f"{line}\r\n" for line in lines).encode())
        await self._writer.drain()
