"""SMTP (RFC 5321) as a client needs it: commands that leave together, and their replies, read strictly."""

import asyncio
import re
import ssl
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

_REPLY_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])([^\r\n]*))?\r\n")
# RFC 5321, 4.5.3.1.5 has 512 octets; some say more.
_MAX_LINE = 4096
_MAX_REPLY = 32 * 1024
_NO_EXTENSIONS: Mapping[str, str] = {}


class Reply(NamedTuple):
    code: int
    text: str
    """Without the codes; lines are joined by line feeds."""

    @property
    def good(self) -> bool:
        return self.code < 400


class Lost(Exception):
    """The connection has ended, or what came over it was no SMTP."""


class Refused(Exception):
    """The server says no before the first message."""

    def __init__(self, reply: Reply, *, signing_in: bool = False) -> None:
        super().__init__(reply.code)
        self.reply = reply
        self.signing_in = signing_in


class CannotSecure(Exception):
    """No encryption where it is wanted, or no way to sign in that we know."""


class Wire(asyncio.Protocol):
    """One connection. Who asks gets as many replies as there were commands, in order."""

    def __init__(self, timeout: float) -> None:
        self.alive = True
        self.extensions: Mapping[str, str] = _NO_EXTENSIONS
        self._timeout = timeout
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._lines: list[bytes] = []
        self._replies: list[Reply] = []
        # The greeting comes unasked.
        self._wanted = 1
        self._waiter: asyncio.Future[None] | None = None

    async def greeting(self) -> Reply:
        return (await self._answers())[0]

    async def ask(self, commands: bytes, replies: int = 1) -> Sequence[Reply]:
        """Fewer replies than wanted where the server hangs up after one of them. Raises Lost without any."""
        if not self.alive or self._transport is None:
            raise Lost
        self._replies, self._wanted = [], replies
        self._transport.write(commands)
        return await self._answers()

    async def encrypt(self, context: ssl.SSLContext, host: str) -> None:
        """Raises Lost, and what the handshake raises."""
        if not self.alive or self._transport is None:
            # RFC 3207: what a server says between its 220 and the handshake, somebody else may have said.
            raise Lost
        loop = asyncio.get_running_loop()
        transport = await loop.start_tls(
            self._transport, self, context, server_hostname=host, ssl_handshake_timeout=self._timeout
        )
        if transport is None:
            raise Lost
        self._transport = transport

    async def leave(self, patience: float) -> None:
        """Says goodbye, and goes whatever is said to that."""
        try:
            async with asyncio.timeout(patience):
                await self.ask(b"QUIT\r\n")
        except (Lost, TimeoutError):
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        self.alive = False
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            while len(self._replies) < self._wanted and self._read():
                pass
        except Lost:
            self.abort()
            return
        if len(self._replies) < self._wanted:
            return
        if self._buffer:
            # More than was asked for: the goodbye of a server, or words that somebody has put into its mouth.
            self.abort()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        del error
        self.alive = False
        self._wake()

    async def _answers(self) -> Sequence[Reply]:
        if len(self._replies) < self._wanted and self.alive:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            # Twice for each mail: a bare timer costs a tenth of `asyncio.timeout`.
            late = loop.call_later(self._timeout, self.abort)
            try:
                await self._waiter
            except asyncio.CancelledError:
                # The replies would be taken for those to what is asked next.
                self.abort()
                raise
            finally:
                late.cancel()
                self._waiter = None
        replies, self._replies, wanted, self._wanted = self._replies, [], self._wanted, 0
        if len(replies) < wanted and all(reply.good for reply in replies):
            self.abort()
            raise Lost
        return replies

    def _read(self) -> bool:
        """Takes one line from the buffer. Raises Lost for one that is none."""
        end = self._buffer.find(b"\n") + 1
        if (end or len(self._buffer)) > _MAX_LINE or (self._lines and sum(map(len, self._lines)) > _MAX_REPLY):
            raise Lost
        if not end:
            return False
        line = _REPLY_LINE.fullmatch(bytes(self._buffer[:end]))
        del self._buffer[:end]
        if line is None or (self._lines and not self._lines[0].startswith(line[1])):
            raise Lost
        said = line[3] or b""
        if line[2] == b"-":
            self._lines.append(line[1] + said)
            return True
        if self._lines:
            said = b"\n".join((*(each[3:] for each in self._lines), said))
            self._lines = []
        self._replies.append(Reply(int(line[1]), said.decode("utf-8", "replace")))
        return True

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Place(NamedTuple):
    """Where a server is, and how it is spoken to."""

    host: str
    port: int
    tls: bool
    starttls: bool
    context: ssl.SSLContext | None
    name: str
    """What we call ourselves."""
    timeout: float


async def connect(place: Place) -> Wire:
    """A connection, encrypted as wanted, over which nobody has signed in yet.

    Raises Lost, Refused, CannotSecure, OSError and ssl.SSLError.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(place.timeout):
            _, wire = await loop.create_connection(
                lambda: Wire(place.timeout), place.host, place.port, ssl=place.context if place.tls else None
            )
    except TimeoutError:
        raise Lost from None
    try:
        _expect(await wire.greeting())
        await _introduce(wire, place.name)
        if place.starttls and place.context is not None:
            await _encrypt(wire, place.context, place.host)
            # What was announced in the clear counts for nothing.
            await _introduce(wire, place.name)
    except BaseException:
        wire.abort()
        raise
    return wire


async def sign_in(wire: Wire, user: str, password: str) -> None:
    """Raises Lost, Refused and CannotSecure."""
    offered = wire.extensions.get("AUTH", "").upper().split()
    if "PLAIN" in offered:
        await _prove(wire, b"AUTH PLAIN " + b64encode(f"\0{user}\0{password}".encode()))
    elif "LOGIN" in offered:
        await _prove(wire, b"AUTH LOGIN", b64encode(user.encode()), b64encode(password.encode()))
    else:
        raise CannotSecure("no_mechanism")


async def sign_in_with_token(wire: Wire, user: str, token: str) -> None:
    """XOAUTH2, as Google (developers.google.com/workspace/gmail/imap/xoauth2-protocol) and Microsoft have it: a refusal
    comes as a challenge, which an empty line answers. Raises as `sign_in`."""
    if "XOAUTH2" not in wire.extensions.get("AUTH", "").upper().split():
        raise CannotSecure("no_mechanism")
    proof = b64encode(f"user={user}\x01auth=Bearer {token}\x01\x01".encode())
    await _prove(wire, b"AUTH XOAUTH2 " + proof, b"")


async def _prove(wire: Wire, *said: bytes) -> None:
    for each in said:
        reply = (await wire.ask(each + b"\r\n"))[0]
        if reply.code == 235:
            return
        if reply.code != 334:
            break
    raise Refused(reply, signing_in=True)


async def _encrypt(wire: Wire, context: ssl.SSLContext, host: str) -> None:
    if "STARTTLS" not in wire.extensions:
        raise CannotSecure("no_starttls")
    _expect((await wire.ask(b"STARTTLS\r\n"))[0])
    await wire.encrypt(context, host)


async def _introduce(wire: Wire, name: str) -> None:
    reply = (await wire.ask(f"EHLO {name}\r\n".encode("ascii")))[0]
    _expect(reply)
    named = (line.partition(" ") for line in reply.text.split("\n")[1:])
    wire.extensions = {word.upper(): values for word, _, values in named}


def _expect(reply: Reply) -> None:
    if not 200 <= reply.code < 300:
        raise Refused(reply)
