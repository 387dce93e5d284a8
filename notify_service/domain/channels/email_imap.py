"""IMAP (RFC 3501) as far as a mailbox is only read: signing in, looking into a folder, fetching by number.

A server is somebody else's program: each command has its time, and each answer a size.
"""

import asyncio
import re
import ssl
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Self

_LITERAL = re.compile(rb"\{([0-9]{1,10})\}\r\n\Z")
_VALIDITY = re.compile(rb"\[UIDVALIDITY ([0-9]{1,10})\]", re.IGNORECASE)
_UID = re.compile(rb"\bUID ([0-9]{1,10})\b", re.IGNORECASE)
# The numbers of half a million mails are one line.
_MOST_LINE = 4 * 1024 * 1024
_MOST_ANSWER = 8 * 1024 * 1024
_GOODBYE_SECONDS = 2.0


class Lost(Exception):
    """The connection has ended, or what came over it was no IMAP."""


class No(Exception):
    """The server does not do what it was asked for."""


class Response(NamedTuple):
    """One line that a server says, and what it says by its length in between."""

    text: bytes
    literals: list[bytes]


@dataclass
class Imap:
    """One connection. Every question raises Lost, and No."""

    reader: asyncio.StreamReader = field(repr=False)
    writer: asyncio.StreamWriter = field(repr=False)
    timeout: float
    _asked: int = 0

    @classmethod
    async def connect(
        cls, host: str, port: int, *, context: ssl.SSLContext | None, timeout: float, starttls: bool = False
    ) -> Self:
        """Greeted, and not signed in: encrypted with a context, which `starttls` asks for after the greeting. Raises
        Lost, and ssl.SSLError."""
        first = None if starttls else context
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await asyncio.open_connection(host, port, ssl=first, limit=_MOST_LINE)
        except ssl.SSLError:
            raise
        except (OSError, TimeoutError) as error:
            raise Lost from error
        made = cls(reader, writer, timeout)
        try:
            await made._greeted()
            if context is not None and starttls:
                await made._encrypt(context, host)
        except BaseException:
            made.abort()
            raise
        return made

    async def login(self, user: str, password: str) -> None:
        await self._ask(b"LOGIN " + _quoted(user) + b" " + _quoted(password))

    async def sign_in_with_token(self, user: str, token: str) -> None:
        """XOAUTH2; a refusal comes as a challenge first, which an empty line answers."""
        proof = b64encode(f"user={user}\x01auth=Bearer {token}\x01\x01".encode())
        await self._ask(b"AUTHENTICATE XOAUTH2", proof)

    async def examine(self, folder: str) -> int:
        """Opens it to read only. Its UIDVALIDITY: as long as that stays, numbers mean the same mails."""
        for response in await self._ask(b"EXAMINE " + _quoted(folder)):
            if found := _VALIDITY.search(response.text):
                return int(found[1])
        raise Lost

    async def after(self, number: int) -> list[int]:
        """The numbers of the mails behind this one, in their order."""
        found: set[int] = set()
        for response in await self._ask(b"UID SEARCH UID %d:*" % (number + 1)):
            words = response.text.split()
            if len(words) > 1 and words[1].upper() == b"SEARCH":
                found.update(int(word) for word in words[2:] if word.isdigit() and len(word) < 11)
        # `*` is the last mail, whatever comes before it.
        return sorted(each for each in found if each > number)

    async def fetch(self, number: int, most: int) -> bytes | None:
        """The first `most` bytes of a mail, which stays unread; None if it is not there any more."""
        for response in await self._ask(b"UID FETCH %d (UID BODY.PEEK[]<0.%d>)" % (number, most)):
            uid = _UID.search(response.text)
            if uid is not None and int(uid[1]) == number and response.literals:
                return response.literals[0][:most]
        return None

    async def leave(self) -> None:
        """Says goodbye, and goes whatever is said to that."""
        try:
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self._ask(b"LOGOUT")
        except (Lost, No, TimeoutError):
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        self.writer.transport.abort()

    async def _greeted(self) -> None:
        try:
            async with asyncio.timeout(self.timeout):
                greeting = await self._response()
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            raise Lost from error
        if not greeting.text.upper().startswith(b"* OK"):
            raise Lost

    async def _encrypt(self, context: ssl.SSLContext, host: str) -> None:
        """Nothing goes in the clear because a server, or who stands before it, does not want it otherwise."""
        try:
            await self._ask(b"STARTTLS")
        except (No, Lost):
            raise ssl.SSLError("It has no STARTTLS.") from None
        if await self._said_more():
            raise ssl.SSLError("Something was said in the clear that would be taken for encrypted.")
        try:
            async with asyncio.timeout(self.timeout):
                await self.writer.start_tls(context, server_hostname=host)
        except ssl.SSLError:
            raise
        except (OSError, TimeoutError) as error:
            raise Lost from error

    async def _said_more(self) -> bool:
        """Whether there is something to read already."""
        try:
            async with asyncio.timeout(0):
                return bool(await self.reader.read(1))
        except TimeoutError:
            return False

    async def _ask(self, command: bytes, *more: bytes) -> list[Response]:
        """What the server says to a command; `more` is said when it asks us to go on."""
        self._asked += 1
        tag = b"p%d" % self._asked
        try:
            async with asyncio.timeout(self.timeout):
                await self._say(tag + b" " + command)
                return await self._answer(tag, iter(more))
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            self.abort()
            raise Lost from error

    async def _answer(self, tag: bytes, more: Iterator[bytes]) -> list[Response]:
        found: list[Response] = []
        left = _MOST_ANSWER
        while left > 0:
            response = await self._response()
            left -= len(response.text) + sum(map(len, response.literals))
            if response.text.startswith(b"+"):
                await self._say(next(more, b""))
            elif response.text.startswith(b"* "):
                found.append(response)
            else:
                self._require(response.text, tag)
                return found
        raise Lost

    def _require(self, text: bytes, tag: bytes) -> None:
        words = text.upper().split(None, 2)
        if len(words) < 2 or words[0] != tag.upper() or words[1] not in {b"OK", b"NO"}:
            raise Lost
        if words[1] == b"NO":
            raise No

    async def _response(self) -> Response:
        text, literals = b"", list[bytes]()
        while len(text) < _MOST_LINE:
            line = await self.reader.readline()
            if not line.endswith(b"\n"):
                raise Lost
            found = _LITERAL.search(line)
            if found is None:
                return Response(text + line, literals)
            size = int(found[1])
            if size + sum(map(len, literals)) > _MOST_ANSWER:
                raise Lost
            literals.append(await self.reader.readexactly(size))
            text += line[: found.start()]
        raise Lost

    async def _say(self, line: bytes) -> None:
        self.writer.write(line + b"\r\n")
        await self.writer.drain()


def _quoted(text: str) -> bytes:
    """Of printable ASCII."""
    return b'"' + text.encode("ascii").replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
