"""What chat may ask of notify."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from libs.clock import Clock
from libs.keys import KeyRing
from libs.tokens import ServiceTokens

PATH = "/internal/notifications/read"
Ask = Callable[..., Any]


@pytest.fixture
def ask(api: httpx2.AsyncClient, key_ring: KeyRing) -> Ask:
    async def ask(body: object, service: str = "chat") -> httpx2.Response:
        token = ServiceTokens(key_ring, service, Clock()).token_for("notify")
        return await api.post(PATH, json=body, headers={"X-Service-Authorization": f"Bearer {token}"})

    return ask


async def test_reading_on_a_socket_marks_it_as_read(as_user: Any, ask: Ask) -> None:
    user_id = uuid4()
    me, other = as_user(user_id), as_user()
    mine, theirs = await me.notify("Mine"), await other.notify("Not yours")
    answer = await ask({"user_id": str(user_id), "notification_id": mine["id"]})
    assert answer.json() == {"found": True}
    assert (await me.get(f"/notifications/{mine['id']}"))["is_read"]
    assert not (await other.get(f"/notifications/{theirs['id']}"))["is_read"]


async def test_somebody_elses_notification_is_not_found(as_user: Any, ask: Ask) -> None:
    user_id = uuid4()
    other = as_user()
    theirs = await other.notify("Not yours")
    for notification_id in (theirs["id"], str(uuid4())):
        answer = await ask({"user_id": str(user_id), "notification_id": notification_id})
        assert (answer.status_code, answer.json()) == (200, {"found": False})
    assert not (await other.get(f"/notifications/{theirs['id']}"))["is_read"]


async def test_only_chat_may_ask(as_user: Any, ask: Ask, api: httpx2.AsyncClient, issue_token: Any) -> None:
    user_id = uuid4()
    me = as_user(user_id)
    mine = await me.notify("Mine")
    body = {"user_id": str(user_id), "notification_id": mine["id"]}
    assert (await ask(body, "auth")).status_code == 403
    own = {"Authorization": f"Bearer {issue_token(user_id)}"}
    assert (await api.post(PATH, json=body, headers=own)).status_code == 403
    assert not (await me.get(f"/notifications/{mine['id']}"))["is_read"]
