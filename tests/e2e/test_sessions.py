"""Sessions while the servers below them forget and go away: none is lost, and none comes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx2
import pytest

from deploy.local.stack import Stack
from libs.redis import connect
from tests.e2e.people import Person

ME, REFRESH, LOGOUT = "/api/v1/users/me", "/api/v1/auth/token/refresh", "/api/v1/auth/logout"
_AWAY = (502, 503, 504)


async def ask(person: Person, method: str, path: str, body: object = None) -> httpx2.Response:
    """As a client does: what got no proper answer is asked again, with the same tokens."""
    headers = {"Authorization": f"Bearer {person.token}"}
    async with asyncio.timeout(60):
        while (answer := await person.http.request(method, path, json=body, headers=headers)).status_code in _AWAY:
            await asyncio.sleep(0.05)
    return answer


async def refresh(person: Person) -> None:
    answer = await ask(person, "POST", REFRESH, {"refresh": person.refresh})
    assert answer.status_code == 200, answer.text
    person.token, person.refresh = answer.json()["access"], answer.json()["refresh"]


async def leave(person: Person) -> Person:
    assert (await ask(person, "POST", LOGOUT, {"refresh": person.refresh})).status_code == 200
    return person


async def refused(stack: Stack, person: Person) -> None:
    """By the gateway, by auth asked directly, and for a new pair: while servers are away nobody is let in either."""
    headers = {"Authorization": f"Bearer {person.token}"}
    for url in (stack.url, stack.address("auth")):
        answer = await person.http.get(url + ME, headers=headers)
        assert answer.status_code in (401, *_AWAY), answer.text
    answer = await person.http.post(REFRESH, json={"refresh": person.refresh})
    assert answer.status_code in (401, *_AWAY), answer.text


class Crowd:
    def __init__(self, stack: Stack, people: list[Person]) -> None:
        self._stack = stack
        self.people = people
        self.gone: list[Person] = []
        self.rounds = 0

    async def run(self) -> None:
        while True:
            await asyncio.gather(*map(refresh, self.people), *(refused(self._stack, person) for person in self.gone))
            self.rounds += 1
            await asyncio.sleep(0.1)

    async def goes_on(self) -> None:
        """Until three more rounds have passed; raises what made it stop."""
        goal = self.rounds + 3
        while self.rounds < goal:
            assert not self.task.done(), self.task.exception()
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        self.task = asyncio.create_task(self.run())
        try:
            yield
        finally:
            self.task.cancel()
            await asyncio.wait([self.task])


@pytest.mark.chaos
@pytest.mark.promise("A20", "A21", "O4")
async def test_no_session_is_lost_and_none_comes_back(stack: Stack) -> None:
    assert stack.postgres is not None
    redis = connect(stack.world.redis_url)
    async with AsyncExitStack() as opened:
        people = [await (await opened.enter_async_context(Person(stack.url, f"stay{n}"))).register() for n in range(5)]
        *staying, before, between = people
        first = staying[0].refresh
        crowd = Crowd(stack, staying)
        crowd.gone.append(await leave(before))
        async with crowd.busy():
            await redis.flushall()
            await crowd.goes_on()
            crowd.gone.append(await leave(between))
            await stack.postgres.restart()
            await crowd.goes_on()
            await asyncio.gather(redis.flushall(), stack.postgres.restart())
            await crowd.goes_on()
        for person in staying:
            assert (await ask(person, "GET", ME)).status_code == 200
        reused = await ask(staying[0], "POST", REFRESH, {"refresh": first})
        assert (reused.status_code, reused.json()["code"]) == (401, "refresh_reused")
        assert (await ask(staying[0], "GET", ME)).status_code == 401
    await redis.aclose()
