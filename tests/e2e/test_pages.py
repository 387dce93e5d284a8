"""The pages, in a real browser: a policy that forbids what a page needs shows only there."""

import asyncio
import os
import re
import shutil
from pathlib import Path

import pytest

from deploy.local.stack import Stack
from tests.e2e.people import Person

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ("background-networking", "component-update", "sync", "extensions", "gpu", "dev-shm-usage", "quic")


async def dom(url: str, folder: Path) -> str:
    """The document after its scripts have run."""
    assert BROWSER is not None
    process = await asyncio.create_subprocess_exec(
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--no-first-run",
        *(f"--disable-{each}" for each in QUIET),
        f"--user-data-dir={folder}",
        "--virtual-time-budget=20000",
        "--dump-dom",
        url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(120):
        output, _ = await process.communicate()
    return output.decode()


@pytest.mark.promise("E4")
@pytest.mark.parametrize("page", ["/api/v1/docs", "/api/v1/redoc", "/swagger/"])
async def test_the_api_page_shows_every_service(stack: Stack, tmp_path: Path, page: str) -> None:
    if BROWSER is None:
        assert not os.environ.get("PARLEY_TEST_BROWSER"), "PARLEY_TEST_BROWSER is set, and there is no Chromium"
        pytest.skip("needs Chromium on the PATH (Debian: apt install chromium)")
    shown = await dom(stack.url + page, tmp_path)
    assert "Something went wrong" not in shown
    for path in ("/api/v1/auth/register", "/api/v1/conversations", "/api/v1/notifications"):
        assert path in shown


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


async def test_the_mailbox_page_opens(stack: Stack, tmp_path: Path) -> None:
    if BROWSER is None:
        pytest.skip("needs Chromium on the PATH (Debian: apt install chromium)")
    assert "Mailbox" in await dom(stack.mailbox_url, tmp_path)
