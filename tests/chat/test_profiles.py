"""The copy of auth's profiles."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

import pytest
import uvicorn
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from chat_service.domain import profiles
from chat_service.worker import HANDLERS
from libs import calls
from libs.clock import Clock
from libs.contracts.accounts import Profile
from libs.contracts.events import Event
from libs.db import Database
from libs.keys import KeyRing
from libs.tokens import SERVICE, SERVICE_HEADER, Verifier
from tests.chat.conftest import People, SettingsFor
from tests.chat.nodes import Node, free_socket, running


class Auth:
    """Answers `/internal/users` as auth does, and counts the questions."""

    def __init__(self, ring: KeyRing) -> None:
        self.profiles: dict[str, Profile] = {}
        self.asked: list[list[str]] = []
        self.url = ""
        self._verifier = Verifier(ring, Clock(), typ=SERVICE, audience="auth")

    async def users(self, request: Request) -> JSONResponse:
        assert self._verifier.verify(request.headers[SERVICE_HEADER].removeprefix("Bearer ")).sub == "chat"
        ids = request.query_params.getlist("id")
        self.asked.append(ids)
        found = [self.profiles[i].model_dump(mode="json") for i in ids if i in self.profiles]
        return JSONResponse({"users": found})

    def add(self) -> UUID:
        user_id = uuid4()
        self.profiles[str(user_id)] = Profile(user_id=user_id, number=1, username=f"new_{user_id.hex[:8]}", version=3)
        return user_id


@pytest.fixture(scope="module")
async def auth(key_ring: KeyRing) -> AsyncIterator[Auth]:
    stub = Auth(key_ring)
    listener = free_socket()
    stub.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = Starlette(routes=[Route("/internal/users", stub.users)])
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", lifespan="off", timeout_keep_alive=75))
    task = asyncio.create_task(server._serve(sockets=[listener]))
    yield stub
    server.should_exit = True
    await task


@pytest.fixture(scope="module")
async def node(settings_for: SettingsFor, auth: Auth) -> AsyncIterator[Node]:
    async with running(settings_for(auth_url=auth.url)) as running_node:
        yield running_node


async def test_somebody_who_registered_just_now_is_asked_for_once(node: Node, people: People, auth: Auth) -> None:
    [ann] = await people(1)
    user_id = auth.add()
    auth.asked.clear()
    for _ in range(3):
        body = {"conversation_type": "group", "participants": [str(user_id)]}
        answer = await node.call(ann, "POST", "/conversations", json=body)
        assert answer.status_code == 201
    assert auth.asked == [[str(user_id)]]
    names = {p["id"]: p["username"] for p in answer.json()["participants"]}
    assert names[str(user_id)] == auth.profiles[str(user_id)].username


async def test_somebody_who_does_not_exist_is_refused(node: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await node.group(ann)
    participants = [str(bob.id), str(uuid4())]
    answer = await node.call(
        ann, "POST", "/conversations", json={"conversation_type": "group", "participants": participants}
    )
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "participants")
    answer = await node.call(ann, "POST", f"/conversations/{conversation}/members", json={"user_ids": participants})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "user_ids")


async def test_without_auth_only_people_who_are_known_can_be_written_to(one: Node, people: People) -> None:
    ann, bob = await people(2)
    await one.group(ann, bob)
    body = {"conversation_type": "group", "participants": [str(uuid4())]}
    answer = await one.call(ann, "POST", "/conversations", json=body)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_newer_profile_replaces_an_older_one_and_never_the_reverse(database: Database) -> None:
    user_id = uuid4()

    async def hear(kind: str, version: int, name: str) -> str:
        profile = Profile(user_id=user_id, number=5, username=name, first_name="", version=version)
        event = Event(
            id=uuid4(),
            type=kind,
            producer="auth",
            position=1,
            occurred_at=datetime.now(UTC),
            data={"profile": profile.model_dump(mode="json"), "added_later": 1},
        )
        async with database.transaction() as db:
            await HANDLERS[kind](db, event)
            found: str = await db.scalar(text("SELECT display_name FROM profile WHERE user_id = :u"), {"u": user_id})
            return found

    assert await hear("UserRegistered", 1, "first") == "first"
    assert await hear("UserUpdated", 3, "third") == "third"
    assert await hear("UserUpdated", 2, "second") == "third"
    assert await hear("UserRegistered", 1, "first") == "third"


async def test_those_of_whom_too_little_was_kept_are_asked_for(node: Node, auth: Auth, database: Database) -> None:
    known, unknown = auth.add(), uuid4()
    async with database.transaction() as db:
        for user_id in (known, unknown):
            old = (
                "INSERT INTO profile (user_id, number, username, display_name, version) VALUES (:u, 1, 'old', 'old', 0)"
            )
            await db.execute(text(old), {"u": user_id})
    assert node.app is not None
    ask = partial(calls.profiles, node.app.state.auth)
    auth.asked.clear()
    for _ in range(2):
        await profiles.refresh(database, ask)
    assert [sorted(ids) for ids in auth.asked] == [sorted([str(known), str(unknown)])]
    async with database.transaction() as db:
        query = text("SELECT username FROM profile WHERE user_id = ANY (:ids) ORDER BY user_id = :known")
        names = (await db.scalars(query, {"ids": [known, unknown], "known": known})).all()
    assert names == ["old", auth.profiles[str(known)].username]
