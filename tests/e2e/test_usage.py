"""How often one calls, from the gateway that counts to oneself."""

import asyncio

import pytest

from tests.e2e.people import Person


@pytest.mark.promise("G43")
async def test_calls_come_back_as_usage(ada: Person, grace: Person) -> None:
    for _ in range(3):
        await ada.call("GET", "/api/v1/conversations")
    await ada.call("GET", "/api/v1/conversations/nothing", expect=422)
    await grace.call("GET", "/api/v1/conversations")
    async with asyncio.timeout(60):
        while (counted := await usage_of(ada))["calls"] < 4:
            await asyncio.sleep(0.2)
    assert counted == {"calls": 4, "refused": 1, "errors": 0}


async def usage_of(person: Person) -> dict[str, int]:
    """Of conversations; of both hours, should one have just begun."""
    rows = (await person.call("GET", "/api/v1/users/me/usage?route=/api/v1/conversations"))["results"]
    return {name: sum(row[name] for row in rows) for name in ("calls", "refused", "errors")}
