"""Signing in with an account elsewhere, through the gateway, as a browser does it."""

import re

import httpx2
import pytest

from deploy.local.stack import Stack
from tests.e2e.people import fresh_address

PROVIDERS = "/api/v1/auth/providers"


async def agree(sandbox: httpx2.AsyncClient, url: str) -> httpx2.Response:
    """Chooses to be Grace on the provider's page."""
    page = (await sandbox.get(url)).text
    [choice] = re.findall(r'href="(/identity/\w+/choose\?[^"]*person=grace)"', page)
    return await sandbox.get(choice.replace("&amp;", "&"))


async def post_back(http: httpx2.AsyncClient, page: str) -> str:
    """What Apple's page makes the browser do: without its cookie, for the page is one of another site."""
    [action] = re.findall(r'action="([^"]+)"', page)
    form = {name: value.replace("&quot;", '"') for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', page)}
    foreign = {"Origin": "https://appleid.apple.com", "Sec-Fetch-Site": "cross-site"}
    answer = await http.post(action, data=form, headers=foreign)
    assert answer.status_code == 303, answer.text
    location: str = answer.headers["location"]
    return location


@pytest.mark.promise("A27")
@pytest.mark.parametrize("provider", ["oidc", "apple", "github", "facebook"])
async def test_a_visit_to_a_provider_ends_signed_in(stack: Stack, provider: str) -> None:
    headers = {"X-Forwarded-For": fresh_address()}
    async with (
        httpx2.AsyncClient(base_url=stack.url, headers=headers, timeout=20) as http,
        httpx2.AsyncClient(base_url=stack.address("sandbox"), timeout=20) as sandbox,
    ):
        page = f"{stack.url}/api/v1/docs"
        begun = await http.post(f"{PROVIDERS}/{provider}/begin", json={"return_to": page})
        browser = {"Cookie": begun.headers["set-cookie"].partition(";")[0]}
        http.cookies.clear()
        back = await agree(sandbox, begun.json()["authorization_url"])
        location = back.headers["location"] if back.status_code == 302 else await post_back(http, back.text)
        returned = (await http.get(location, headers=browser)).headers["location"]
        assert returned.startswith(f"{page}#code=")
        body = {"code": returned.partition("#code=")[2]}
        answer = await http.post(f"{PROVIDERS}/exchange", json=body, headers=browser)
        assert answer.status_code == 200, answer.text
        token = {"Authorization": f"Bearer {answer.json()['access']}"}
        assert (await http.get("/api/v1/conversations", headers=token)).status_code == 200
