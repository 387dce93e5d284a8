"""Existing clients through the gateway: their calls, their sockets, and no token in any log."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from deploy.local.stack import Stack
from tests.e2e.people import Person


@asynccontextmanager
async def opened(person: Person, path: str, **options: Any) -> AsyncIterator[ClientConnection]:
    headers = {"X-Forwarded-For": person.http.headers["X-Forwarded-For"]}
    address = f"{person.url.replace('http', 'ws')}{path}"
    async with connect(address, additional_headers=headers, **options) as socket:
        yield socket


async def until(socket: ClientConnection, name: str, value: str) -> Any:
    async with asyncio.timeout(20):
        while True:
            frame = json.loads(await socket.recv())
            if frame.get(name) == value:
                return frame


async def notification(socket: ClientConnection, notification_id: str) -> Any:
    """The next that is told of it; there may be others."""
    while True:
        told = (await until(socket, "stream", "notification"))["payload"]
        if told["notification"] and told["notification"]["id"] == notification_id:
            return told


async def welcomed(person: Person) -> None:
    """Until the first notification of a new account is there, which comes by itself."""
    async with asyncio.timeout(45):
        while not (await person.call("GET", "/api/v1/notifications"))["results"]:
            await asyncio.sleep(0.05)


async def number_of(person: Person) -> int:
    number: int = (await person.call("GET", "/api/users/profile/"))["id"]
    return number


@pytest.mark.promise("K24", "K45")
async def test_message_of_the_rooms_client_reaches_the_hub_client(ada: Person, grace: Person, alan: Person) -> None:
    body = {"participants": [await number_of(grace)]}
    made = await ada.call("POST", "/api/chat/conversations/", body, expect=201)
    await ada.call("POST", "/api/chat/conversations/", {"participants": [await number_of(alan)]}, expect=201)
    number = made["id"]
    async with (
        opened(ada, f"/ws/chat/{number}/?token={ada.token}") as rooms,
        opened(grace, f"/ws/messages/?token={grace.token}") as hub,
    ):
        await until(hub, "event", "authenticated")
        await rooms.send(json.dumps({"message": "Hello"}))
        said = await until(rooms, "message", "Hello")
        heard = await until(hub, "event", "new_message")
    assert (said["message_id"], said["sender_id"]) == (1, await number_of(ada))
    assert heard["data"]["message"]["content"] == "Hello"
    kept = await grace.call("GET", f"/api/chat/conversations/{number}/messages/")
    assert [message["content"] for message in kept["messages"]] == ["Hello"]
    await alan.call("GET", f"/api/chat/conversations/{number}/", expect=404)


@pytest.mark.promise("K44")
async def test_phone_client_reads_a_notification_on_its_socket(ada: Person) -> None:
    await welcomed(ada)
    async with opened(ada, "/ws/") as socket:
        await socket.send(json.dumps({"stream": "auth", "payload": {"type": "token", "token": ada.token}}))
        await until(socket, "stream", "auth")
        made = await ada.call("POST", "/api/v1/notifications", {"title": "Hi", "message": "There"}, expect=201)
        told = await notification(socket, made["id"])
        unread = told["unread_count"]
        assert not told["notification"]["is_read"]
        await socket.send(json.dumps({"stream": "notification", "payload": {"type": "read", "id": made["id"]}}))
        told = await notification(socket, made["id"])
        assert (told["notification"]["is_read"], told["unread_count"]) == (True, unread - 1)


@pytest.mark.promise("K24")
async def test_foreign_pages_are_refused_and_programs_are_not(ada: Person) -> None:
    path = f"/ws/messages/?token={ada.token}"
    with pytest.raises(InvalidStatus) as refused:
        async with opened(ada, path, origin="https://evil.example.com"):
            pass
    assert refused.value.response.status_code == 403
    async with opened(ada, path) as socket:
        await until(socket, "event", "authenticated")


async def test_token_of_an_address_stands_in_no_log(stack: Stack, ada: Person) -> None:
    for path in ("/ws/messages/", "/ws/chat/1/", "/ws/"):
        # What is no frame may end the socket before all is said.
        with suppress(ConnectionClosed):
            async with opened(ada, f"{path}?token={ada.token}") as socket:
                await socket.send("{}")
                await socket.close()
    logs = list(stack.state.logs.glob("*.log"))
    assert logs
    assert [log.name for log in logs if ada.token in log.read_text(errors="replace")] == []
