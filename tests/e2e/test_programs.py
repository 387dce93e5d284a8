"""Programs with API tokens: what a token was not made for it does not do, in any service and by no detour."""

import pytest

from deploy.local.stack import Stack
from parley_client import ChatClient, Refused
from tests.e2e.people import Person


async def program(person: Person, *scopes: str) -> Person:
    body = {"name": "robot", "scopes": scopes}
    person.token = (await person.call("POST", "/api/v1/auth/api-tokens", body, expect=201))["token"]
    return person


@pytest.mark.promise("A61")
async def test_a_program_that_reads_and_writes_opens_a_socket(ada: Person) -> None:
    async with (await program(ada, "chat:read", "chat:write")).online():
        await ada.call("POST", "/api/v1/ws-tickets", expect=201)


@pytest.mark.promise("A61", "C54")
@pytest.mark.parametrize("scope", ["chat:read", "chat:write", "notify:write"])
async def test_a_program_with_half_of_that_opens_none_not_by_a_ticket_either(
    stack: Stack, ada: Person, scope: str
) -> None:
    await program(ada, scope)
    refused = await ada.call("POST", "/api/v1/ws-tickets", expect=403)
    assert refused["code"] == "insufficient_scope"
    client = ChatClient(stack.address("chat").replace("http", "ws") + "/ws")
    await client.open()
    with pytest.raises(Refused, match="insufficient_scope"):
        await client.hello(ada.token)
    assert (await client.until_closed()).code == 4401
