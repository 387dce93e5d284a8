"""A browser whose tokens are in cookies, as far as the tests need one."""

from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any

import httpx2

from tests.auth.api import PASSWORD, Api

ACCESS, REFRESH, CSRF = "__Host-at", "__Host-rt", "csrf-token"
OWN = {"Sec-Fetch-Site": "same-origin"}


@dataclass
class Browser:
    """`says` is what it tells of where a request comes from; a program with cookies tells nothing."""

    api: Api
    says: dict[str, str] = field(default_factory=lambda: dict(OWN))
    cookies: dict[str, str] = field(default_factory=dict)

    async def call(self, method: str, path: str, **options: Any) -> httpx2.Response:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {**self.says, **({"Cookie": cookie} if cookie else {}), **options.pop("headers", {})}
        answer = await self.api.http.request(method, path, headers=headers, **options)
        self.api.http.cookies.clear()
        for line in answer.headers.get_list("set-cookie"):
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        return answer

    async def sign_in(self, email: str) -> httpx2.Response:
        body = {"email": email, "password": PASSWORD, "cookie": True}
        return await self.call("POST", "/api/v1/auth/token", json=body)

    async def me(self) -> httpx2.Response:
        return await self.call("GET", "/api/v1/users/me")

    async def rename(self, **options: Any) -> httpx2.Response:
        """Something that changes something."""
        return await self.call("PATCH", "/api/v1/users/me", json={"first_name": "Ada"}, **options)


async def signed_in(api: Api, **says: str) -> Browser:
    made = await api.register()
    browser = Browser(api)
    answer = await browser.sign_in(made.email)
    assert answer.status_code == 200, answer.text
    browser.says = says
    return browser
