"""Sockets that have not said who they are."""

import asyncio

import pytest
from websockets.exceptions import InvalidStatus

from parley_client.sockets import ChatClient
from tests.chat.conftest import People, SettingsFor
from tests.chat.nodes import Node, running


async def silent(node: Node) -> ChatClient:
    client = ChatClient(node.socket_url)
    await client.open()
    return client


@pytest.mark.promise("C54")
async def test_address_holds_few_sockets_that_say_nothing(people: People, settings_for: SettingsFor) -> None:
    [ann] = await people(1)
    async with running(settings_for(ungreeted_per_address=3)) as node:
        waiting = [await silent(node) for _ in range(3)]
        with pytest.raises(InvalidStatus) as refused:
            await silent(node)
        assert refused.value.response.status_code == 429
        assert refused.value.response.headers["retry-after"]
        # Who says who they are makes room, as who leaves does.
        await waiting[0].hello(ann.token)
        await (await silent(node)).close()
        await waiting[1].close()
        async with asyncio.timeout(10):
            while sum(node.context.hub.ungreeted.values()) > 1:
                await asyncio.sleep(0.01)
        async with node.client(ann):
            pass
        for client in waiting:
            await client.close()
        async with asyncio.timeout(10):
            while node.context.hub.ungreeted:
                await asyncio.sleep(0.01)


@pytest.mark.promise("C54")
async def test_addresses_are_counted_apart(people: People, settings_for: SettingsFor) -> None:
    [ann] = await people(1)
    async with running(settings_for(ungreeted_per_address=1)) as node:
        waiting = await silent(node)
        other = ChatClient(node.socket_url)
        await other.open(headers={"X-Forwarded-For": "203.0.113.9"})
        await other.hello(ann.token)
        await other.close()
        await waiting.close()


@pytest.mark.promise("C54")
async def test_a_foreign_page_opens_no_socket_where_origins_are_set(people: People, settings_for: SettingsFor) -> None:
    [ann] = await people(1)
    async with running(settings_for(cors_origins=["https://app.example.com"])) as node:
        host = node.socket_url.split("/")[2]
        for path in ("", "messages"):
            for page in (
                "https://evil.example",
                "null",
                "https://app.example.com.evil.example",
                "http://[::1",
                "https://",
            ):
                with pytest.raises(InvalidStatus) as refused:
                    await opened_by(node, page, path)
                assert refused.value.response.status_code == 403
        for page in ("https://app.example.com", f"http://{host}", None):
            client = await opened_by(node, page)
            await client.hello(ann.token)
            await client.close()


async def opened_by(node: Node, page: str | None, path: str = "") -> ChatClient:
    client = ChatClient(node.socket_url + path)
    await client.open(headers={"Origin": page} if page is not None else {})
    return client
