"""Three people who have just registered."""

from collections.abc import AsyncIterator

import pytest

from deploy.local.stack import Stack
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
