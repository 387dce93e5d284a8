"""The way out of mails as people go it: from the mail through the gateway to the page behind its link, in a browser."""

import asyncio
import re
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from deploy.local.stack import Stack
from tests.e2e.browser import Tab
from tests.e2e.people import Person

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


async def send(admin: Person, to: str, **more: Any) -> Any:
    """A mail of the category `news`, once it has ended."""
    content = {"subject": "News", "text": "Much has happened."}
    body = {"channel": "email", "to": [{"address": to}], "content": content, "category": "news", **more}
    [made] = (await admin.call("POST", "/api/v1/deliveries", body, expect=202))["deliveries"]
    async with asyncio.timeout(45):
        while True:
            found = await admin.call("GET", f"/api/v1/deliveries/{made['id']}")
            if found["state"] not in ("queued", "sending", "retry"):
                return found
            await asyncio.sleep(0.05)


async def way_out(stack: Stack, to: str) -> str:
    """As the mail program of who got it finds it."""
    async with httpx2.AsyncClient(base_url=stack.mailbox_url) as sandbox:
        [found] = (await sandbox.get("/smtp/messages", params={"to": to})).json()["results"]
        headers = (await sandbox.get(f"/smtp/messages/{found['id']}")).json()["headers"]
    [header] = [each["value"] for each in headers if each["name"].lower() == "list-unsubscribe"]
    link = re.fullmatch(r"<(.+)>", header)
    assert link is not None
    return link[1]


@pytest.mark.promise("N59")
async def test_page_of_a_link_works_in_a_browser_that_comes_through_the_gateway(
    stack: Stack, admin: Person, tab: Tab
) -> None:
    to = f"{uuid4().hex}@example.test"
    assert (await send(admin, to))["state"] == "sent"
    link = await way_out(stack, to)
    assert link.startswith(f"{stack.url}/u/")
    await tab.language("en")
    await tab.open(link)
    assert "You get messages about “news” by e-mail." in await tab.text()
    assert await tab.run("getComputedStyle(document.querySelector('main')).maxWidth") == "576px"
    assert set((await tab.boxes()).values()) == {True}
    await tab.press("Unsubscribe")
    assert (await send(admin, to))["state"] == "suppressed"
    assert "no more messages about “news”" in await tab.text()
    await tab.press("Undo")
    assert (await send(admin, to))["state"] == "sent"
    await tab.tick("news")
    await tab.press("Save")
    assert (await tab.boxes())["news"] is False
    assert (await send(admin, to))["state"] == "suppressed"
    await tab.language("de")
    await tab.open(link)
    assert "Sie erhalten per E-Mail keine Nachrichten zu „news“ mehr." in await tab.text()
    await tab.press("Wieder erhalten")
    assert (await send(admin, to))["state"] == "sent"
    assert (tab.status, tab.refused) == (200, [])
    await tab.open(link[:-4])
    assert (tab.status, "Dieser Link ist nicht gültig" in await tab.text()) == (404, True)


@pytest.mark.promise("N59")
async def test_mail_program_needs_one_click_and_nothing_else(stack: Stack, admin: Person) -> None:
    to = f"{uuid4().hex}@example.test"
    await send(admin, to)
    link = await way_out(stack, to)
    # Of no country that may come in, and with a token of somebody else's.
    strange = {"X-Forwarded-For": "203.0.113.9", "Authorization": "Bearer none"}
    async with httpx2.AsyncClient(headers=strange) as program:
        assert (await program.get(link)).status_code == 200
        assert (await send(admin, to))["state"] == "sent"
        assert (await program.post(link, data=ONE_CLICK)).status_code == 200
    assert (await send(admin, to))["state"] == "suppressed"
