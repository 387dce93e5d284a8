"""A file on its way through everything."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.e2e.people import Person

_MIB = 1 << 20


async def pieces() -> AsyncIterator[bytes]:
    yield b"%PDF-1.7\n".ljust(_MIB)
    for number in range(19):
        yield bytes([number]) * _MIB


@pytest.mark.promise("C27", "C28")
async def test_a_large_file_passes_the_gateway_to_members_alone(ada: Person, grace: Person, alan: Person) -> None:
    headers = {person: {"Authorization": f"Bearer {person.token}"} for person in (ada, grace, alan)}
    answer = await ada.http.post("/api/v1/attachments?name=a.pdf", content=pieces(), headers=headers[ada])
    assert answer.status_code == 201, answer.text
    file = answer.json()
    body = {"conversation_type": "group", "participants": [grace.id], "name": "Files"}
    conversation = await ada.call("POST", "/api/v1/conversations", body, expect=201)
    message = {"content": "Look", "attachments": [file["id"]]}
    await ada.call("POST", f"/api/v1/conversations/{conversation['id']}/messages", message, expect=201)
    whole = await grace.http.get(file["url"], headers=headers[grace])
    assert (whole.status_code, len(whole.content), whole.content[-1]) == (200, 20 * _MIB, 18)
    part = await grace.http.get(file["url"], headers={**headers[grace], "Range": f"bytes={_MIB}-{_MIB + 2}"})
    assert (part.status_code, part.content) == (206, bytes(3))
    assert (await alan.http.get(file["url"], headers=headers[alan])).status_code == 404


async def test_what_is_too_large_is_refused_through_the_gateway(ada: Person) -> None:
    """Before it is read: the answer comes while the client is still sending."""
    url = ada.http.base_url
    head = (
        f"POST /api/v1/attachments HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: Bearer {ada.token}\r\n"
        f"Content-Type: application/pdf\r\nContent-Length: {26 * _MIB}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        writer.write(head.encode() + b"%PDF-".ljust(_MIB))
        async with asyncio.timeout(30):
            answer = await reader.readuntil(b"\r\n\r\n") + await reader.readuntil(b"}")
    finally:
        writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"too_large"' in answer.replace(b": ", b":")
