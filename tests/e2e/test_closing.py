"""Accounts that are closed: what they had open ends at once, and nothing opens again."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.e2e.people import Person, Socket

ENDED, STALE = 4504, 4401
Close = Callable[[Person, Person], Awaitable[object]]


async def suspend(staff: Person, who: Person) -> object:
    return await staff.call("POST", f"/api/v1/admin/auth/users/{who.id}/suspend", {"reason": "spam"})


async def remove(staff: Person, who: Person) -> object:
    return await staff.call("DELETE", f"/api/v1/users/{who.id}", expect=204)


async def leave(_staff: Person, who: Person) -> object:
    return await who.call("DELETE", "/api/v1/users/me", expect=204)


async def code_of(socket: Socket) -> int | None:
    """With which it was closed."""
    async with asyncio.timeout(20):
        await socket.raw.wait_closed()
    return socket.raw.close_code


async def come_and_go(who: Person) -> None:
    while True:
        async with who.online():
            await asyncio.sleep(1)


async def shut_out(who: Person, code: str) -> None:
    """Each process of chat hears of an ending by itself, within moments."""
    with pytest.raises(AssertionError, match=code):
        await asyncio.wait_for(come_and_go(who), 20)


@pytest.mark.promise("A56", "T12")
@pytest.mark.parametrize("close", [suspend, remove, leave])
async def test_closing_an_account_closes_its_sockets_and_nobody_elses(
    admin: Person, ada: Person, grace: Person, close: Close
) -> None:
    async with ada.online() as phone, ada.online() as desk, grace.online() as graces:
        await close(admin, ada)
        refused = await ada.call("GET", "/api/v1/conversations", expect=401)
        assert refused["code"] == "token_revoked"
        assert [await code_of(socket) for socket in (phone, desk)] == [ENDED, ENDED]
        await graces.ask("ping", {})
    await ada.call("POST", "/api/v1/auth/token/refresh", {"refresh": ada.refresh}, expect=401)
    await shut_out(ada, "token_revoked")


@pytest.mark.promise("A56", "A61")
async def test_closing_an_account_ends_its_programs_too(admin: Person, ada: Person) -> None:
    body = {"name": "robot", "scopes": ["chat:read", "chat:write"]}
    ada.token = (await ada.call("POST", "/api/v1/auth/api-tokens", body, expect=201))["token"]
    async with ada.online() as robot:
        await ada.call("GET", "/api/v1/conversations")
        await suspend(admin, ada)
        # The token is remembered where it was used; that it counts no more, each service hears within moments.
        assert await code_of(robot) == STALE
        async with asyncio.timeout(20):
            while "code" not in await ada.call("GET", "/api/v1/conversations", expect=None):
                await asyncio.sleep(0.01)
    await shut_out(ada, "invalid_token")
