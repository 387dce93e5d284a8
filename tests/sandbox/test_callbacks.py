"""How simulated providers call back."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from deploy.local.ports import free_port
from deploy.sandbox.callbacks import Callbacks, Manners
from tests.sandbox.receiver import Receiver, receiving


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as opened:
        yield opened


async def told(receiver: Receiver, *items: int, **manners: Any) -> list[list[int]]:
    callbacks = Callbacks(lambda found: (json.dumps(list(found)).encode(), {"X-Count": str(len(found))}))
    callbacks.manners = Manners.model_validate({"url": receiver.url, **manners})
    callbacks.add(*items)
    async with asyncio.timeout(60):
        while not callbacks.idle:
            await asyncio.sleep(0.01)
    await callbacks.close()
    assert all(headers["x-count"] == str(len(json.loads(body))) for body, headers in receiver.heard)
    return [json.loads(body) for body, _ in receiver.heard]


@pytest.mark.promise("N69")
@pytest.mark.parametrize(
    ("manners", "heard"),
    [
        ({}, [[1], [2], [3]]),
        ({"batch": 2}, [[1, 2], [3]]),
        ({"copies": 2}, [[1], [1], [2], [2], [3], [3]]),
        ({"reverse": True, "batch": 3, "delay_ms": 1}, [[3, 2, 1]]),
        ({"drop": 2}, [[3]]),
        ({"url": None}, []),
    ],
)
async def test_calls_have_the_manners_that_were_asked_for(
    receiver: Receiver, manners: dict[str, Any], heard: list[list[int]]
) -> None:
    assert await told(receiver, 1, 2, 3, **manners) == heard


async def test_call_that_is_refused_is_made_again(receiver: Receiver) -> None:
    receiver.refuse = 2
    assert await told(receiver, 1, 2) == [[1], [2]]


async def test_nobody_there_is_given_up(receiver: Receiver) -> None:
    assert await told(receiver, 1, url=f"http://127.0.0.1:{free_port()}/") == []
