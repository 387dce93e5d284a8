"""Sign-in providers, and browsers that visit them."""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx2

from deploy.sandbox.identity import settings_of
from deploy.sandbox.server import Sandbox
from libs.testing.clock import FakeClock
from tests.auth.api import Api, unique

PAGE = "https://app.example.com/signed-in"
PROVIDERS = "/api/v1/auth/providers"
IDENTITIES = "/api/v1/users/me/identities"
COOKIE = "__Host-flow"
OPENID = ("oidc", "google", "microsoft", "apple")
ALL = (*OPENID, "github", "facebook")
# Those whose word about an address counts.
VOUCHING = (*OPENID, "github")


@dataclass
class Browser:
    """Keeps the cookie as a browser would, and goes where it is led."""

    api: Api
    web: httpx2.AsyncClient
    cookie: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"Cookie": f"{COOKIE}={self.cookie}"} if self.cookie else {}

    async def begin(self, provider: str, page: str = PAGE) -> str:
        return self._begun(
            await self.api.post(f"{PROVIDERS}/{provider}/begin", {"return_to": page}, headers=self.headers)
        )

    async def begin_linking(self, token: str, provider: str) -> str:
        body = {"provider": provider, "return_to": PAGE}
        return self._begun(await self.api.post(f"{IDENTITIES}/begin", body, token, headers=self.headers))

    async def agree(self, url: str, person: str) -> str:
        """Chooses who to be on the provider's page; where the provider leads then."""
        page = await self.web.get(url)
        assert page.status_code == 200, page.text
        [choice] = re.findall(r'href="(/identity/\w+/choose\?[^"]*person=)"', page.text)
        back = await self.web.get(choice.replace("&amp;", "&") + person)
        if back.status_code == 200:
            # Apple's page has a form; the post comes without the cookie.
            [action] = re.findall(r'action="([^"]+)"', back.text)
            fields = re.findall(r'name="(\w+)" value="([^"]*)"', back.text)
            form = {name: value.replace("&quot;", '"') for name, value in fields}
            back = await self.api.call("POST", urlsplit(action).path, data=form)
            assert back.status_code == 303, back.text
        location: str = back.headers["location"]
        return location

    async def come_back(self, location: str) -> httpx2.Response:
        parts = urlsplit(location)
        return await self.api.get(f"{parts.path}?{parts.query}", headers=self.headers)

    async def visit(self, provider: str, person: str) -> str:
        """The code on the page that the browser ends on."""
        returned = await self.come_back(await self.agree(await self.begin(provider), person))
        return code_in(returned)

    async def exchange(self, code: str) -> httpx2.Response:
        return await self.api.post(f"{PROVIDERS}/exchange", {"code": code}, headers=self.headers)

    async def sign_in(self, provider: str, person: str) -> httpx2.Response:
        return await self.exchange(await self.visit(provider, person))

    async def visit_to_link(self, token: str, provider: str, person: str) -> str:
        return code_in(await self.come_back(await self.agree(await self.begin_linking(token, provider), person)))

    async def end_linking(self, token: str, code: str) -> httpx2.Response:
        return await self.api.post(IDENTITIES, {"code": code}, token, headers=self.headers)

    async def link(self, token: str, provider: str, person: str) -> httpx2.Response:
        return await self.end_linking(token, await self.visit_to_link(token, provider, person))

    def _begun(self, answer: httpx2.Response) -> str:
        assert answer.status_code == 200, answer.text
        self.cookie = re.findall(rf"{COOKIE}=([^;]+)", answer.headers["set-cookie"])[0]
        url: str = answer.json()["authorization_url"]
        return url


@dataclass
class Elsewhere:
    api: Api
    web: httpx2.AsyncClient
    origin: str
    emails: dict[str, str | None] = field(default_factory=dict)

    def browser(self, api: Api | None = None) -> Browser:
        return Browser(api or self.api, self.web)

    async def person(self, **changed: Any) -> str:
        """Somebody new, with an address of their own unless another is given."""
        name = unique()
        body = {"id": name, "email": f"{name}@example.com", "first_name": "Ada", "last_name": "Lovelace", **changed}
        assert (await self.web.post("/identity/people", json=body)).status_code == 201
        self.emails[name] = body["email"]
        return name

    async def trouble(self, realm: str, at: str, trick: str, times: int = 1) -> None:
        body = {"realm": realm, "at": at, "trick": trick, "times": times}
        assert (await self.web.post("/identity/faults", json=body)).status_code == 201

    async def behave(self) -> None:
        await self.web.delete("/identity/faults")

    async def facebook_token(self, person: str, app: str = "parley") -> str:
        answer = await self.web.post("/identity/facebook/tokens", json={"person": person, "client_id": app})
        token: str = answer.json()["access_token"]
        return token


@asynccontextmanager
async def open_elsewhere(
    open_api: Callable[..., AbstractAsyncContextManager[Api]], sandbox: Sandbox, clock: FakeClock, **changed: Any
) -> AsyncIterator[Elsewhere]:
    origin = f"http://127.0.0.1:{sandbox.http_port}"
    async with (
        httpx2.AsyncClient(base_url=origin, trust_env=False) as web,
        open_api(clock=clock, **settings(origin, **changed)) as api,
    ):
        yield Elsewhere(api, web, origin)


def settings(origin: str, **changed: Any) -> dict[str, Any]:
    return {
        "providers": json.dumps(settings_of(origin)),
        "return_urls": [PAGE],
        "provider_private_networks": True,
        "public_url": "https://api.example.com",
        **changed,
    }


def code_in(returned: httpx2.Response) -> str:
    assert returned.status_code == 303, returned.text
    page, _, fragment = returned.headers["location"].partition("#")
    assert page == PAGE
    code: str = parse_qs(fragment)["code"][0]
    return code


def query(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))
