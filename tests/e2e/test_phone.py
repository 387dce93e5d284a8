"""Signing in with a code, from the request to the phone and back."""

import asyncio
import re
from typing import Any

import httpx2
import pytest

from deploy.local.stack import Stack
from tests.auth.phones import new_phone
from tests.e2e.people import Person


async def code_on(stack: Stack, phone: str) -> str:
    """What the phone shows, once it has arrived."""
    async with httpx2.AsyncClient(base_url=stack.mailbox_url) as sandbox, asyncio.timeout(45):
        while True:
            found: list[dict[str, Any]] = (await sandbox.get("/sms/messages", params={"to": phone})).json()["results"]
            if found:
                return str(re.findall(r"\b\d{6}\b", found[0]["text"])[0])
            await asyncio.sleep(0.05)


@pytest.mark.promise("A12", "K35", "N23")
async def test_code_travels_to_the_phone_and_signs_in(stack: Stack) -> None:
    phone = new_phone()
    async with Person(stack.url, "ada") as ada:
        asked = await ada.call("POST", "/api/v1/auth/otp/request/", {"phone_number": phone}, expect=202)
        body = {"challenge_id": asked["challenge_id"], "code": await code_on(stack, phone), "first_name": "Ada"}
        signed_in = await ada.call("POST", "/api/v1/auth/otp/verify/", body)
        assert signed_in["created"]
        ada.token = signed_in["access"]
        assert (await ada.call("GET", "/api/v1/users/me"))["phone_number"] == phone
