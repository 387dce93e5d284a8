"""What mail servers may say that a well-behaved one does not, over a real socket."""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.sandbox import certificates
from libs.clock import Clock
from notify_service.domain.channels import CannotOpen, ErrorClass, Outcome
from notify_service.domain.channels.email import Connection, Letter, account

Answer = bytes | None
"""What is said to a command; None: hang up without a word."""
LETTER = Letter("parley@example.test", b"Subject: s\r\n\r\nHello.\r\n")
USUAL: dict[str, Answer] = {
    "": b"220 hi\r\n",
    "EHLO": b"250-hi\r\n250-SIZE 1000\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
    "MAIL": b"250 ok\r\n",
    "RCPT": b"250 ok\r\n",
    "DATA": b"354 go\r\n",
    ".": b"250 2.0.0 Ok: queued as 4XyZ\r\n",
    "RSET": b"250 ok\r\n",
    "QUIT": b"221 bye\r\n",
    "STARTTLS": b"220 go\r\n",
}
ONE_BY_ONE = b"250-hi\r\n250 8BITMIME\r\n"


class Server:
    """Says to each word what it was told to say, of a list one after the other."""

    def __init__(self, said: dict[str, Answer | Sequence[Answer]], context: ssl.SSLContext | None) -> None:
        told = {word: list(said) if isinstance(said, list) else [said] for word, said in said.items()}
        self._said: dict[str, list[Any]] = {**{word: [answer] for word, answer in USUAL.items()}, **told}
        self._context = context
        self.heard: list[str] = []
        self.bodies: list[bytes] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._talk(reader, writer)
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        word = ""
        while True:
            answers = self._said.get(word, [b"502 what\r\n"])
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if answer is None:
                return
            writer.write(answer)
            if word == "STARTTLS" and self._context:
                await writer.start_tls(self._context)
            if word == "DATA" and answer.startswith(b"354"):
                word = "."
                self.bodies.append(await _body(reader))
                continue
            line = await reader.readline()
            if not line:
                return
            self.heard.append(line.decode().rstrip())
            word = line.split()[0].decode().upper()


async def _body(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while body != b".\r\n" and not body.endswith(b"\r\n.\r\n"):
        line = await reader.readline()
        if not line:
            raise ConnectionResetError
        body += line
    return body


@asynccontextmanager
async def serving(
    said: dict[str, Any], context: ssl.SSLContext | None = None, *, user: str = "", **more: Any
) -> AsyncIterator[tuple[Server, Connection]]:
    """A server that speaks so, and a line to it."""
    scripted = Server(said, context)
    listener = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    url = f"smtp://{user}127.0.0.1:{port}?starttls={'required' if context else 'off'}"
    limits = {"connections": 1, "messages_per_connection": 100, "timeout": 5.0}
    line = Connection(account(url, mail_from="parley@example.test", **{**limits, **more}))
    try:
        yield scripted, line
    finally:
        await line.close()
        listener.close()


async def sent(line: Connection, letter: Letter = LETTER) -> Outcome:
    await line.open()
    return await line.send("ada@example.test", letter)


async def test_envelope_leaves_in_one_go_and_the_size_is_told() -> None:
    async with serving({}) as (server, line):
        outcome = await sent(line)
    assert (outcome.error, outcome.provider_id) == (None, "4XyZ")
    assert server.heard[1:4] == ["MAIL FROM:<parley@example.test> SIZE=22", "RCPT TO:<ada@example.test>", "DATA"]
    assert server.bodies == [LETTER.content + b".\r\n"]


async def test_server_that_takes_one_command_at_a_time_gets_one() -> None:
    async with serving({"EHLO": ONE_BY_ONE, "RCPT": [b"550 5.1.1 no\r\n", b"250 ok\r\n"]}) as (server, line):
        assert (await sent(line)).code == "550 5.1.1"
        assert (await sent(line)).error is None
    # Behind the refusal no DATA.
    assert [each.split()[0] for each in server.heard[1:8]] == ["MAIL", "RCPT", "RSET", "MAIL", "RCPT", "DATA", "QUIT"]


async def test_server_that_waits_for_a_message_to_nobody_gets_an_empty_one() -> None:
    refusing = {"RCPT": [b"550 5.1.1 no\r\n", b"250 ok\r\n"], ".": [b"554 nobody\r\n", b"250 ok\r\n"]}
    async with serving(refusing) as (server, line):
        assert (await sent(line)).code == "550 5.1.1"
        assert (await sent(line)).error is None
    assert server.bodies == [b".\r\n", LETTER.content + b".\r\n"]


@pytest.mark.promise("N46")
@pytest.mark.parametrize(
    ("said", "error", "code"),
    [
        ({"MAIL": b"553 5.1.8 not you\r\n", "RCPT": b"503 no\r\n", "DATA": b"503 no\r\n"}, "auth", "553 5.1.8"),
        ({"MAIL": b"451 4.3.0 later\r\n", "RCPT": b"503 no\r\n", "DATA": b"503 no\r\n"}, "transient", "451 4.3.0"),
        ({"RCPT": b"450-4.2.1 busy\r\n450 4.2.1 very\r\n", "DATA": b"503 no\r\n"}, "transient", "450 4.2.1"),
        ({"DATA": b"554 5.7.1 spam\r\n"}, "permanent", "554 5.7.1"),
        ({".": b"552 5.3.4 too big\r\n"}, "permanent", "552 5.3.4"),
        ({".": b"451 4.3.0 later\r\n"}, "transient", "451 4.3.0"),
        ({"MAIL": b"421 4.7.0 enough\r\n"}, "throttle", "421 4.7.0"),
        ({"MAIL": [b"421 4.7.0 bye\r\n", None], "RCPT": None}, "throttle", "421 4.7.0"),
        ({"RCPT": None}, "transient", "connection_lost"),
        ({"DATA": None}, "transient", "connection_lost"),
        ({"DATA": b"250 what?\r\n"}, "transient", "connection_lost"),
        ({"MAIL": b"hello\r\n"}, "transient", "connection_lost"),
        ({"MAIL": b"250 ok\n"}, "transient", "connection_lost"),
        ({"MAIL": b"250-ok\r\n550 no\r\n"}, "transient", "connection_lost"),
        ({"MAIL": b"250 " + b"x" * 5000 + b"\r\n"}, "transient", "connection_lost"),
        ({"MAIL": b"250-" + b"x" * 5000}, "transient", "connection_lost"),
        ({"MAIL": (b"250-" + b"x" * 900 + b"\r\n") * 50}, "transient", "connection_lost"),
    ],
)  # fmt: skip
async def test_what_is_said_before_the_message_never_makes_it_ambiguous(
    said: dict[str, Any], error: str, code: str
) -> None:
    async with serving(said) as (_, line):
        outcome = await sent(line)
    assert (outcome.error, outcome.code) == (error, code)


@pytest.mark.promise("N46", "N49")
@pytest.mark.parametrize("said", [None, b"what\r\n", b"\r\n", b"999 x\r\n", b"250-a\r\n", b"220 hm\r\n", b"250 ok\n"])
async def test_no_good_answer_to_a_whole_message_is_ambiguous(said: Answer) -> None:
    # For the rest of an answer that has begun it waits in vain.
    patience = {"timeout": 1.0} if said == b"250-a\r\n" else {}
    async with serving({".": said}, **patience) as (server, line):
        outcome = await sent(line)
    assert (outcome.error, outcome.code) == (ErrorClass.AMBIGUOUS, "no_answer")
    assert len(server.bodies) == 1


async def test_words_that_nobody_asked_for_end_the_connection() -> None:
    async with serving({".": [b"250 ok\r\n250 and ok\r\n", b"250 ok\r\n"]}) as (server, line):
        assert (await sent(line)).error is None
        assert (await sent(line)).error is None
    assert server.connections == 2


async def test_mail_that_is_too_large_is_not_tried() -> None:
    async with serving({}) as (server, line):
        outcome = await sent(line, Letter("parley@example.test", b"x" * 2000))
    assert (outcome.error, outcome.code) == (ErrorClass.PERMANENT, "too_large")
    assert not server.bodies


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    made = certificates.make(("127.0.0.1",), Clock())
    path = tmp_path_factory.mktemp("wire") / "certificate.pem"
    made.write(path)
    return made.context, path


@pytest.mark.promise("N9")
@pytest.mark.parametrize(
    ("said", "code"),
    [
        # Somebody on the way has put a word behind the last one in the clear.
        ({"EHLO": b"250-hi\r\n250 STARTTLS\r\n", "STARTTLS": b"220 go\r\n250 AUTH PLAIN\r\n"}, "no_connection"),
        ({"EHLO": b"250 hi\r\n"}, "tls_failed"),
        ({"EHLO": b"250-hi\r\n250 STARTTLS\r\n", "STARTTLS": b"454 4.7.0 not now\r\n"}, "454 4.7.0"),
        ({"": b"554 5.7.1 go away\r\n"}, "554 5.7.1"),
        ({"": None}, "no_connection"),
    ],
)
async def test_connection_that_cannot_be_secured_is_none(certificate: Any, said: dict[str, Any], code: str) -> None:
    context, path = certificate
    async with serving(said, context, user="u:p@", ca_file=path) as (server, line):
        with pytest.raises(CannotOpen) as caught:
            await line.open()
    assert (caught.value.outcome.error, caught.value.outcome.code) == (ErrorClass.UNREACHABLE, code)
    assert not any(each.startswith("AUTH") for each in server.heard)


@pytest.mark.promise("N9")
async def test_what_was_announced_in_the_clear_counts_for_nothing(certificate: Any) -> None:
    context, path = certificate
    announced = [b"250-hi\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n", b"250 hi\r\n"]
    async with serving({"EHLO": announced}, context, user="u:p@", ca_file=path) as (server, line):
        with pytest.raises(CannotOpen) as caught:
            await line.open()
    assert (caught.value.outcome.error, caught.value.outcome.code) == (ErrorClass.AUTH, "no_mechanism")
    assert server.heard[:3] == ["EHLO example.test", "STARTTLS", "EHLO example.test"]


@pytest.mark.promise("N9")
@pytest.mark.parametrize(
    ("said", "proof"),
    [
        ({"EHLO": b"250-hi\r\n250 AUTH LOGIN PLAIN\r\n", "AUTH": b"235 ok\r\n"}, [b"\0u\0p w"]),
        ({"EHLO": b"250-hi\r\n250 AUTH LOGIN\r\n", "AUTH": b"334 VXNlcjo=\r\n"}, [b"u", b"p w"]),
    ],
)
async def test_signs_in_as_the_server_wants(said: dict[str, Any], proof: list[bytes]) -> None:
    words = [b64encode(each).decode() for each in proof]
    said |= {words[0].upper(): b"334 UGFzcw==\r\n", words[-1].upper(): b"235 ok\r\n"} if len(words) > 1 else {}
    async with serving(said, user="u:p%20w@") as (server, line):
        assert (await sent(line)).error is None
    assert [each.split()[-1] for each in server.heard if each not in {"AUTH LOGIN"}][1 : 1 + len(words)] == words


@pytest.mark.promise("N46")
@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"535 5.7.8 no\r\n", "auth"),
        (b"504 5.5.4 no\r\n", "auth"),
        (b"454 4.7.0 later\r\n", "unreachable"),
        (None, "unreachable"),
    ],
)
async def test_refusal_to_sign_in_blames_the_account(said: Answer, error: str) -> None:
    async with serving({"EHLO": b"250-hi\r\n250 AUTH PLAIN\r\n", "AUTH": said}, user="u:p@") as (_, line):
        with pytest.raises(CannotOpen) as caught:
            await line.open()
    assert caught.value.outcome.error == error
