"""Everything is restarted, one process after the other, under people who go on: nobody's request fails."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from deploy.local.stack import Stack
from tests.e2e.people import Person

Call = Callable[[Person, str], Awaitable[int]]


async def look(person: Person, _conversation: str) -> int:
    return (await _ask(person, "GET", "/api/v1/users/me")).status_code


async def change(person: Person, _conversation: str) -> int:
    return (await _ask(person, "PATCH", "/api/v1/users/me", {"first_name": person.name})).status_code


async def read(person: Person, conversation: str) -> int:
    return (await _ask(person, "GET", f"/api/v1/conversations/{conversation}")).status_code


async def say(person: Person, conversation: str) -> int:
    body = {"content": "still here", "client_msg_id": str(uuid4())}
    return (await _ask(person, "POST", f"/api/v1/conversations/{conversation}/messages", body)).status_code


async def _ask(person: Person, method: str, path: str, body: object = None):  # type: ignore[no-untyped-def]
    return await person.http.request(method, path, json=body, headers={"Authorization": f"Bearer {person.token}"})


# Calls a second and person, within what one account may do.
RATES: dict[Call, float] = {look: 22, read: 20, say: 2, change: 2}


class Load:
    """Each call again and again on kept connections, without a second try."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self.stopped = False

    async def go_on(self, call: Call, person: Person, conversation: str) -> None:
        while not self.stopped:
            self.answers[call.__name__, await call(person, conversation)] += 1
            await asyncio.sleep(1 / RATES[call])

    async def more(self, count: int) -> None:
        """Until so many were answered again."""
        before = self.answers.total()
        async with asyncio.timeout(60):
            while self.answers.total() < before + count:
                await asyncio.sleep(0.05)


async def goodbye(socket: ClientConnection) -> int:
    async with asyncio.timeout(60):
        while True:
            try:
                await socket.recv()
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd is not None else 1006


@pytest.mark.promise("G37")
async def test_no_request_fails_while_everything_is_restarted(stack: Stack, ada: Person, grace: Person) -> None:
    body = {"conversation_type": "group", "name": "rolling", "participants": [grace.id]}
    conversation = str((await ada.call("POST", "/api/v1/conversations", body, expect=201))["id"])
    load = Load()
    async with asyncio.TaskGroup() as group, ada.online() as through_gateway:
        for person in (ada, grace):
            for call in RATES:
                group.create_task(load.go_on(call, person, conversation))
        await load.more(40)
        await stack.renew("gateway")
        # The service behind said it: the server restarts, come back.
        assert await goodbye(through_gateway.raw) == 4000
        await load.more(40)
        async with grace.online() as through_chat:
            for name in ("auth", "chat", "chat-2", "notify"):
                await stack.renew(name)
                await load.more(40)
            assert await goodbye(through_chat.raw) == 4000
        await load.more(80)
        load.stopped = True
    assert load.answers.keys() == {("look", 200), ("read", 200), ("say", 201), ("change", 200)}, load.answers
    stored = await ada.call("GET", f"/api/v1/conversations/{conversation}")
    assert stored["id"] == conversation
