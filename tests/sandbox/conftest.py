"""A sandbox of its own on free ports for every test, and a client that really verifies its certificate."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from email.message import EmailMessage

import aiosmtplib
import httpx2
import pytest

from deploy.sandbox.server import Options, Sandbox
from deploy.sandbox.smtp import SmtpOptions

USER, PASSWORD = "postman", "correct horse"

Start = Callable[[SmtpOptions], AbstractAsyncContextManager[Sandbox]]


@pytest.fixture
def start() -> Start:
    return lambda smtp: Sandbox(Options(smtp=smtp, http_port=0, smtp_port=0))


@pytest.fixture
async def sandbox(start: Start) -> AsyncIterator[Sandbox]:
    async with start(SmtpOptions(USER, PASSWORD)) as running:
        yield running


@pytest.fixture
async def web(sandbox: Sandbox) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{sandbox.http_port}", trust_env=False) as client:
        yield client


@pytest.fixture
def client_of() -> Callable[[Sandbox], aiosmtplib.SMTP]:
    """An unconnected client; `connect()` does STARTTLS against exactly the sandbox's certificate."""

    def make(sandbox: Sandbox) -> aiosmtplib.SMTP:
        context = ssl.create_default_context(cadata=sandbox.certificate.pem)
        # What Python 3.13 does by itself.
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return aiosmtplib.SMTP(
            hostname="127.0.0.1", port=sandbox.smtp_port, start_tls=True, tls_context=context, timeout=10
        )

    return make


@pytest.fixture
async def mail(sandbox: Sandbox, client_of: Callable[[Sandbox], aiosmtplib.SMTP]) -> AsyncIterator[aiosmtplib.SMTP]:
    client = client_of(sandbox)
    await client.connect()
    await client.login(USER, PASSWORD)
    yield client
    client.close()


@pytest.fixture
def letter() -> Callable[..., EmailMessage]:
    def write(
        to: str = "ada@example.test", *, subject: str = "Hello", text: str = "Hi.", html: str | None = None
    ) -> EmailMessage:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = "parley@example.test", to, subject
        message.set_content(text)
        if html is not None:
            message.add_alternative(html, subtype="html")
        return message

    return write
