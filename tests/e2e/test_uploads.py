"""What is large on its way to notify: files of recipients, and the calls of providers."""

import asyncio
import hashlib
import hmac
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from deploy.local.stack import Stack
from tests.e2e.people import Person, fresh_address

_MIB = 1 << 20
_MOST = 64 * _MIB
_HOOK_MOST = 3 * _MIB
HEADER = b"email,note\n"
SECRET = "an-apps-secret"
# Of a country from which nobody may come in; providers may.
ABROAD = "203.0.113.7"


async def table(size: int) -> AsyncIterator[bytes]:
    """Of exactly so many bytes: two rows that are well, and as many as it takes that are far too long."""
    yield HEADER
    left = size - len(HEADER)
    for row in (b"ada@example.test,first\n", b"grace@example.test,second\n"):
        yield row
        left -= len(row)
    while left:
        row = b"alan@example.test,".ljust(min(left, _MIB) - 1, b"x") + b"\n"
        yield row
        left -= len(row)


class Memory:
    """Of a process, in bytes."""

    def __init__(self, pid: int | None) -> None:
        self._folder = Path(f"/proc/{pid}")

    def forget(self) -> int:
        """What it has now, from which its most is counted anew."""
        (self._folder / "clear_refs").write_text("5")
        return self._read("VmRSS")

    def most(self) -> int:
        return self._read("VmHWM")

    def _read(self, name: str) -> int:
        lines = (self._folder / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


@pytest.fixture
async def audience(admin: Person) -> str:
    made = await admin.call("POST", "/api/v1/audiences", {"name": "All", "channel": "email"}, expect=201)
    return f"/api/v1/audiences/{made['id']}"


async def put(admin: Person, audience: str, size: int) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {admin.token}", "Content-Type": "text/csv", "Content-Length": str(size)}
    return await admin.http.put(f"{audience}/file", content=table(size), headers=headers, timeout=60)


@pytest.mark.promise("N71")
async def test_file_of_recipients_passes_the_gateway_without_staying_in_its_memory(
    stack: Stack, admin: Person, audience: str
) -> None:
    memory = Memory(stack.process("gateway").pid)
    before = memory.forget()
    answer = await put(admin, audience, _MOST)
    assert memory.most() - before < _MOST // 4
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert {name: report["audience"][name] for name in ("total", "valid")} == {"total": 66, "valid": 2}
    assert {each["code"] for each in report["problems"]} == {"too_long"}


@pytest.mark.promise("N71")
@pytest.mark.parametrize("told", [True, False])
async def test_file_that_is_too_large_is_refused_at_the_gateway_and_changes_nothing(
    admin: Person, audience: str, *, told: bool
) -> None:
    """Whether it says so before, or only shows it."""
    before = (await put(admin, audience, 1000)).json()["audience"]
    url = admin.http.base_url
    length = f"Content-Length: {_MOST + 1}" if told else "Transfer-Encoding: chunked"
    head = (
        f"PUT {audience}/file HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: Bearer {admin.token}\r\n"
        f"X-Forwarded-For: {fresh_address()}\r\nContent-Type: text/csv\r\n{length}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(url.host, url.port)

    async def write() -> None:
        writer.write(head.encode())
        async for row in table(_MOST + 1):
            writer.write(row if told else b"%x\r\n%b\r\n" % (len(row), row))
            await writer.drain()

    writing = asyncio.create_task(write())
    try:
        async with asyncio.timeout(60):
            answer = await reader.readuntil(b"\r\n\r\n") + await reader.readuntil(b"}")
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"payload_too_large"' in answer.replace(b": ", b":")
    assert await admin.call("GET", audience) == before


@pytest.fixture
async def hook(stack: Stack, admin: Person) -> str:
    """Of a WhatsApp account."""
    name = f"wa-{secrets.token_hex(4)}"
    config = {"phone_number_id": "106540352242922", "base_url": f"{stack.mailbox_url}/whatsapp"}
    body = {"name": name, "provider": "whatsapp", "config": config}
    body["secrets"] = {"token": "parley", "app_secret": SECRET}
    await admin.call("POST", "/api/v1/accounts", body, expect=201)
    return name


def call(size: int, text: str) -> bytes:
    """A webhook of so many bytes, written as no program of ours would write it."""
    message = {"from": "12025550123", "id": f"wamid.{secrets.token_hex(8)}", "timestamp": "1790000000", "type": "text"}
    value = {"messaging_product": "whatsapp", "messages": [{**message, "text": {"body": text}}]}
    entry = [{"id": "1", "changes": [{"field": "messages", "value": value}]}]
    said = json.dumps({"object": "whatsapp_business_account", "entry": entry}, indent=3).encode()
    return b" " * (size - len(said)) + said


@pytest.mark.promise("N29", "N33")
async def test_call_of_a_provider_passes_the_gateway_byte_by_byte_and_without_a_token(
    stack: Stack, admin: Person, hook: str
) -> None:
    body, text = call(_HOOK_MOST, "caf\u00e9 \U0001f600"), "café 😀"
    made = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={made}", "X-Forwarded-For": ABROAD, "Authorization": "Bearer none"}
    path = f"{stack.url}/hooks/whatsapp/{hook}"
    async with httpx2.AsyncClient(headers=headers, timeout=30) as provider:
        assert (await provider.get(f"{stack.url}/api/v1/notifications")).status_code == 403
        assert (await provider.post(path, content=body)).status_code == 200
        changed = await provider.post(path, content=b"\t" + body[1:])
        assert (changed.status_code, changed.json()["code"]) == (401, "bad_signature")
        larger = await provider.post(path, content=body + b" ")
        assert (larger.status_code, larger.json()["code"]) == (413, "payload_too_large")

    async def written() -> Any:
        answer = await admin.call("GET", f"/api/v1/accounts/{hook}/threads/+12025550123/messages")
        return [each["text"] for each in answer["results"]]

    async with asyncio.timeout(30):
        while not (found := await written()):
            await asyncio.sleep(0.05)
    assert found == [text]
