"""Three people who have just registered, and one who may everything."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.stack import Stack
from tests.e2e.browser import Tab, browsing, need_browser
from tests.e2e.people import Person


@pytest.fixture
async def ada(stack: Stack) -> AsyncIterator[Person]:
    async with Person(stack.url, "ada") as person:
        yield await person.register()


@pytest.fixture
async def grace(stack: Stack) -> AsyncIterator[Person]:
    async with Person(stack.url, "grace") as person:
        yield await person.register()


@pytest.fixture
async def alan(stack: Stack) -> AsyncIterator[Person]:
    async with Person(stack.url, "alan") as person:
        yield await person.register()


@pytest.fixture(scope="session")
async def founder(stack: Stack) -> AsyncIterator[Person]:
    async with Person(stack.url, "admin") as person:
        await person.register()
        await stack.run("auth", "create-admin", person.email)
        await person.sign_in()
        yield person


@pytest.fixture
async def admin(founder: Person) -> Person:
    """With a token of now: all journeys together may take longer than one lasts."""
    await founder.renew()
    return founder


@pytest.fixture
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    """Of a browser that knows nothing yet."""
    need_browser()
    async with browsing(tmp_path) as found:
        yield found
