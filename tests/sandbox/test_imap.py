"""The mailbox of returned mails, as a client that somebody else has written sees it."""

import asyncio
import imaplib
import ssl
from typing import Any

import httpx2

from deploy.sandbox.server import Options, Sandbox
from deploy.sandbox.smtp import SmtpOptions

USER, PASSWORD = "postman", 'correct "horse" \\'


def read(sandbox: Sandbox) -> tuple[Any, Any, bytes]:
    context = ssl.create_default_context(cadata=sandbox.certificate.pem)
    with imaplib.IMAP4_SSL("127.0.0.1", sandbox.imap_port, ssl_context=context, timeout=10) as imap:
        imap.login(USER, PASSWORD)
        imap.select("INBOX", readonly=True)
        _, [found] = imap.uid("SEARCH", "UID", "2:*")
        _, [(said, raw), _] = imap.uid("FETCH", "2", "(UID BODY.PEEK[]<0.7>)")
        return found, said, raw


async def test_what_came_back_can_be_read() -> None:
    options = Options(smtp=SmtpOptions(USER, PASSWORD), http_port=0, smtp_port=0, imap_port=0)
    async with (
        Sandbox(options) as sandbox,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{sandbox.http_port}", trust_env=False) as web,
    ):
        for content in (b"Subject: One\r\n\r\n", b"Subject: Two\r\n\r\n"):
            assert (await web.post("/imap/messages", content=content)).status_code == 201
        found, said, raw = await asyncio.to_thread(read, sandbox)
        assert (found, b"UID 2" in said, raw) == (b"2", True, b"Subject")
        assert (await web.post("/imap/rebuild")).json() == {"validity": 2, "numbers": [1, 2], "broken": []}
