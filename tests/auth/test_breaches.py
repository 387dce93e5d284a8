"""Passwords that were in a breach, asked of a range service that listens on a socket."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.auth.api import fields, unique
from tests.auth.conftest import OpenApi
from tests.auth.test_accounts import REGISTER

BREACHED = "lamp giraffe violin"
DIGEST = hashlib.sha1(BREACHED.encode(), usedforsecurity=False).hexdigest().upper()


class RangeService:
    """As Have I Been Pwned answers. `broken` says how it fails."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.broken = ""

    async def answer(self, request: Request) -> Response:
        self.asked.append(request.path_params["prefix"])
        if self.broken == "slow":
            await asyncio.sleep(30)
        if self.broken == "error":
            return PlainTextResponse("no", 503)
        if self.broken == "nonsense":
            return PlainTextResponse("ü" * 10)
        padding = f"{'0' * 35}:0"
        return PlainTextResponse(f"{padding}\r\n{DIGEST[5:]}:37\r\n{'F' * 35}:2")


@asynccontextmanager
async def listening(service: RangeService) -> AsyncIterator[str]:
    app = Starlette(routes=[Route("/range/{prefix}", service.answer)])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=0))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/range"
    server.should_exit = True
    await serving


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine too the service is heard."""
    monkeypatch.setattr("auth_service.domain.breaches._BUDGET_SECONDS", 60.0)


async def refused(open_api: OpenApi, url: str, password: str) -> dict[str, str]:
    async with open_api(hibp_url=url) as api:
        answer = await api.post(REGISTER, {"email": f"{unique()}@example.com", "password": password})
        return dict(fields(answer)) if answer.status_code != 201 else {}


@pytest.mark.promise("A5")
@pytest.mark.usefixtures("patience")
async def test_a_breached_password_is_refused_and_only_its_prefix_is_told(open_api: OpenApi) -> None:
    service = RangeService()
    async with listening(service) as url:
        assert await refused(open_api, url, BREACHED) == {"password": "This password is too common."}
        assert await refused(open_api, url, "violin giraffe lamp") == {}
    assert service.asked[0] == DIGEST[:5]
    assert {len(asked) for asked in service.asked} == {5}


async def test_what_is_padding_is_no_breach(open_api: OpenApi, monkeypatch: pytest.MonkeyPatch) -> None:
    service = RangeService()
    monkeypatch.setattr("tests.auth.test_breaches.DIGEST", "0" * 40)
    async with listening(service) as url:
        assert await refused(open_api, url, BREACHED) == {}


@pytest.mark.promise("A5")
@pytest.mark.parametrize("how", ["slow", "error", "nonsense"])
async def test_a_service_that_fails_refuses_nobody(open_api: OpenApi, how: str) -> None:
    service = RangeService()
    service.broken = how
    async with listening(service) as url:
        assert await refused(open_api, url, BREACHED) == {}
    assert service.asked


@pytest.mark.promise("A5")
async def test_a_service_that_is_away_refuses_nobody(open_api: OpenApi) -> None:
    assert await refused(open_api, "http://127.0.0.1:9/range", BREACHED) == {}
