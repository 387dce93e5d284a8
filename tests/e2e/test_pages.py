"""The pages, in a real browser: a policy that forbids what a page needs shows only there."""

import asyncio
import re

import pytest

from deploy.local.stack import Stack
from tests.e2e.browser import Tab
from tests.e2e.people import Person


@pytest.mark.promise("E4")
@pytest.mark.parametrize("page", ["/api/v1/docs", "/api/v1/redoc", "/swagger/"])
async def test_the_api_page_shows_every_service(stack: Stack, tab: Tab, page: str) -> None:
    await tab.open(stack.url + page)
    wanted = ("/api/v1/auth/register", "/api/v1/conversations", "/api/v1/notifications")
    async with asyncio.timeout(120):
        shown = ""
        while not all(path in shown for path in wanted):
            shown = await tab.document()
            await asyncio.sleep(0.1)
    assert "Something went wrong" not in shown


@pytest.mark.promise("K34")
@pytest.mark.parametrize(
    "path", ["/api/v1/users/me/", "/api/v1/conversations/", "/api/v1/notifications/", "/api/v1/none/"]
)
async def test_answers_of_every_service_have_times_and_security_headers(ada: Person, path: str) -> None:
    answer = await ada.http.get(path, headers={"Authorization": f"Bearer {ada.token}"})
    assert answer.status_code == (404 if "none" in path else 200)
    for name in ("x-request-duration", "x-query-time"):
        assert re.fullmatch(r"\d+\.\d{3}s", answer.headers[name])
    assert answer.headers["x-database-queries"].isdecimal()
    assert answer.headers["content-security-policy"] == "default-src 'self'; script-src 'self' 'unsafe-inline'"
    assert answer.headers["x-xss-protection"] == "1; mode=block"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "strict-origin-when-cross-origin"


@pytest.mark.promise("G28", "K34")
async def test_the_details_of_a_running_whole(ada: Person) -> None:
    found = await ada.call("GET", "/api/v1/health/detailed/")
    assert found.pop("timestamp")
    for server in ("database", "redis"):
        assert found[server].pop("latency_ms") >= 0
    healthy = {"status": "healthy"}
    services = {f"{name}_service": healthy for name in ("auth", "chat", "notify")}
    assert found == {**healthy, "database": healthy, "redis": healthy, "services": services}


async def test_the_mailbox_page_opens(stack: Stack, tab: Tab) -> None:
    await tab.open(stack.mailbox_url)
    assert "Mailbox" in await tab.text()
