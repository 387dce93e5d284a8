"""The directory of routes answers exactly as the framework's own search does."""

from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, FastAPI

from libs.routing import Directory

router = APIRouter(prefix="/things")


@router.get("/{thing}")
async def read_thing(thing: str) -> str:
    return f"thing {thing}"


@router.get("/newest")
async def read_newest() -> str:
    return "hidden by the one before"


@router.get("/oldest/name")
async def read_name() -> str:
    return "name"


@router.get("/{thing}/{part}")
async def read_part(thing: str, part: int) -> str:
    return f"part {part} of {thing}"


@router.get("/deep/{rest:path}")
async def read_rest(rest: str) -> str:
    return f"rest {rest}"


@router.post("")
async def make_thing(body: dict[str, int]) -> dict[str, int]:
    return body


@router.put("/{thing}")
async def replace_thing(thing: str) -> str:
    return f"replaced {thing}"


def _app(*, directory: bool) -> FastAPI:
    app = FastAPI(redirect_slashes=False)
    app.router.routes.extend(router.routes)
    if directory:
        app.router.middleware_stack = Directory(app.router)
    return app


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
@pytest.mark.parametrize(
    "path",
    [
        "/things", "/things/", "/things/a", "/things/newest", "/things/oldest/name", "/things/a/5", "/things/a/b",
        "/things/deep/a", "/things/deep/a/b/c", "/things/a%2Fb", "/things/a%0A", "/things//5", "/", "/other",
        "/things/a/5/", "/openapi.json", "/docs",
    ],
)  # fmt: skip
async def test_same_answers_as_without_it(method: str, path: str) -> None:
    async def ask(app: FastAPI) -> Any:
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.request(method, path, json={"a": 1} if method == "POST" else None)
        return answer.status_code, answer.content, answer.headers

    assert await ask(_app(directory=True)) == await ask(_app(directory=False))


async def test_a_name_is_no_id() -> None:
    names = APIRouter()

    @names.get("/messages/saved")
    async def read_saved() -> str:
        return "saved"

    @names.delete("/messages/{message}")
    async def delete_message(message: str) -> str:
        return f"deleted {message}"

    app = FastAPI()
    app.router.routes.extend(names.routes)
    app.router.middleware_stack = Directory(app.router)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test") as client:
        refused = await client.delete("/messages/saved")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET")
        assert (await client.delete("/messages/other")).json() == "deleted other"


async def test_finds_it_without_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    app = _app(directory=True)

    async def search(*_given: Any) -> None:
        raise AssertionError("The framework was asked.")

    monkeypatch.setattr(app.router, "app", search)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test") as client:
        assert (await client.get("/things/a")).json() == "thing a"
        assert (await client.get("/things/oldest/name")).json() == "name"
        assert (await client.put("/things/b")).json() == "replaced b"
        with pytest.raises(AssertionError):
            await client.delete("/things/b")
