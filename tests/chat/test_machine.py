"""Random actions of several people on two processes: what each client keeps is what a fresh client reads.

The state machine runs in a thread of its own and asks the loop of the tests to do things.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from sqlalchemy import text

from libs.db import Database
from parley_client import Chat, LocalCopy
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person

Value = TypeVar("Value")
WHO = st.integers(0, 3)
WHICH = st.integers(0, 30)
EMOJI = st.sampled_from(["👍", "❤️", ":tada:"])
WORDS = st.sampled_from(["hello", "wörld", "東京", "a " * 150, "x"])
# What a person may not do, or what is there no more, is refused; anything else is a fault.
BORNE = (200, 201, 202, 204, 403, 404, 409, 422)
_UNREAD = """
SELECT count(*) FROM message AS m JOIN member AS me ON me.conversation_id = m.conversation_id AND me.user_id = :u
WHERE m.conversation_id = :c AND m.seq > me.last_read_seq AND m.deleted_at IS NULL AND NOT m.thread_only
    AND NOT EXISTS (SELECT 1 FROM hidden_message AS h WHERE h.user_id = :u AND h.message_id = m.id)
"""


@dataclass
class Place:
    loop: asyncio.AbstractEventLoop
    nodes: tuple[Node, Node]
    people: People
    database: Database
    admin: Person

    def do(self, work: Coroutine[Any, Any, Value]) -> Value:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)


@dataclass
class Body:
    """One person with a client that stays."""

    person: Person
    chat: Chat
    node: Node


class Talking(RuleBasedStateMachine):
    place: ClassVar[Place]
    conversation: str = ""
    until: ClassVar[float]
    """After that nothing more is done: on a busy machine this test takes no longer."""

    @initialize()
    def begin(self) -> None:
        self.said: list[str] = []
        self.bodies: list[Body] = []
        if time.monotonic() < self.until:
            self.place.do(self._begin())

    async def _begin(self) -> None:
        people = await self.place.people(4)
        self.conversation = await self.place.nodes[0].group(*people[:3])
        for number, person in enumerate(people):
            node = self.place.nodes[number % 2]
            body = Body(person, Chat(node.url, _token_of(person)), node)
            await body.chat.__aenter__()
            self.bodies.append(body)
            if number < 3:
                await body.chat.follow(self.conversation)

    @rule(who=WHO, words=WORDS)
    def say(self, who: int, words: str) -> None:
        self._say(who, {"content": words})

    @rule(who=WHO, which=WHICH)
    def quote(self, who: int, which: int) -> None:
        if self.said:
            self._say(who, {"content": "quoting", "reply_to": self._one(which)})

    @rule(who=WHO, which=WHICH, shown=st.booleans())
    def reply_in_thread(self, who: int, which: int, shown: bool) -> None:
        if self.said:
            body = {"content": "in a thread", "thread_root_id": self._one(which), "also_in_conversation": shown}
            self._say(who, body)

    @rule(who=WHO, which=WHICH, words=WORDS)
    def edit(self, who: int, which: int, words: str) -> None:
        if self.said:
            self._call(who, "PATCH", f"/messages/{self._one(which)}", json={"content": words})

    @rule(who=WHO, which=WHICH)
    def delete(self, who: int, which: int) -> None:
        if self.said:
            self._call(who, "DELETE", f"/messages/{self._one(which)}")

    @rule(who=WHO, which=WHICH, emoji=EMOJI, on=st.booleans())
    def react(self, who: int, which: int, emoji: str, on: bool) -> None:
        if self.said:
            self._call(who, "PUT" if on else "DELETE", f"/messages/{self._one(which)}/reactions/{emoji}")

    @rule(who=WHO, which=WHICH, on=st.booleans())
    def pin(self, who: int, which: int, on: bool) -> None:
        if self.said:
            path = f"/conversations/{self.conversation}/pins/{self._one(which)}"
            self._call(who, "PUT" if on else "DELETE", path)

    @rule(who=WHO, whom=WHO)
    def add(self, who: int, whom: int) -> None:
        body = {"user_ids": [self._id(whom)]}
        self._call(who, "POST", f"/conversations/{self.conversation}/members", json=body)

    @rule(who=WHO, whom=WHO)
    def remove(self, who: int, whom: int) -> None:
        self._call(who, "DELETE", f"/conversations/{self.conversation}/members/{self._id(whom)}")

    @rule(who=WHO, whom=WHO, role=st.sampled_from(["admin", "moderator", "member", "guest", "read_only"]))
    def promote(self, who: int, whom: int, role: str) -> None:
        self._call(who, "PATCH", f"/conversations/{self.conversation}/members/{self._id(whom)}", json={"role": role})

    @rule(who=WHO, seq=WHICH)
    def read(self, who: int, seq: int) -> None:
        self._call(who, "POST", f"/conversations/{self.conversation}/read", json={"seq": seq})

    @rule(who=WHO, name=WORDS)
    def rename(self, who: int, name: str) -> None:
        self._call(who, "PATCH", f"/conversations/{self.conversation}", json={"name": name[:50]})

    @rule(who=WHO)
    def lose_the_socket(self, who: int) -> None:
        if self.bodies:
            self.place.loop.call_soon_threadsafe(self.bodies[who].chat.drop)

    @rule(who=WHO)
    def move_to_the_other_process(self, who: int) -> None:
        if not self.bodies:
            return
        body = self.bodies[who]
        body.node = next(node for node in self.place.nodes if node is not body.node)
        body.chat.socket_url = body.node.socket_url
        self.place.loop.call_soon_threadsafe(body.chat.drop)

    @rule()
    def look(self) -> None:
        if time.monotonic() < self.until:
            self.place.do(self._look())

    def teardown(self) -> None:
        self.place.do(self._end())

    async def _end(self) -> None:
        try:
            if self.bodies:
                await self._look()
        finally:
            for body in self.bodies:
                await body.chat.__aexit__(None, None, None)

    async def _look(self) -> None:
        """The copies of all members are exact, their counts are true, and the conversation is whole."""
        for body in self.bodies:
            answer = await body.node.call(body.person, "GET", f"/conversations/{self.conversation}")
            if answer.status_code != 200:
                continue
            async with asyncio.timeout(30):
                while not await self._is_exact(body):
                    await asyncio.sleep(0.05)
            async with self.place.database.transaction() as db:
                unread = await db.scalar(text(_UNREAD), {"c": self.conversation, "u": body.person.id})
            assert answer.json()["unread_count"] == unread
        path = f"/admin/chat/conversations/{self.conversation}/verify"
        answer = await self.place.nodes[0].call(self.place.admin, "GET", path)
        assert answer.json()["problems"] == {}, answer.text

    async def _is_exact(self, body: Body) -> bool:
        followed = body.chat.conversations.get(f"c:{self.conversation}")
        if followed is None or followed.gone is not None:
            followed = await body.chat.follow(self.conversation)
        fresh = await LocalCopy.read(body.chat.api, self.conversation)
        if followed.copy is None or followed.copy.seq != fresh.seq:
            return False
        oldest = min((message["seq"] for message in fresh.messages.values()), default=0)
        kept = {key: message for key, message in followed.copy.messages.items() if message["seq"] >= oldest}
        assert replace(followed.copy, messages=kept) == fresh
        return True

    def _id(self, who: int) -> str:
        return str(self.bodies[who].person.id) if self.bodies else ""

    def _one(self, which: int) -> str:
        return self.said[which % len(self.said)]

    def _say(self, who: int, body: dict[str, Any]) -> None:
        answer = self._call(who, "POST", f"/conversations/{self.conversation}/messages", json=body)
        if "id" in answer:
            self.said.append(answer["id"])

    def _call(self, who: int, method: str, path: str, **more: Any) -> dict[str, Any]:
        if time.monotonic() > self.until:
            return {}
        body = self.bodies[who]
        answer = self.place.do(body.node.call(body.person, method, path, **more))
        assert answer.status_code in BORNE, answer.text
        found: dict[str, Any] = answer.json() if answer.status_code in (200, 201) else {}
        return found


def _token_of(person: Person) -> Callable[[bool], Any]:
    async def token(_fresh: bool) -> str:
        return person.token

    return token


@pytest.mark.promise("C34", "C41", "C42")
async def test_copies_are_exact_whatever_people_do(
    one: Node,
    two: Node,
    people: People,
    database: Database,
    issue_token: Callable[..., str],
    pytestconfig: pytest.Config,
) -> None:
    admin_id = uuid4()
    admin = Person(admin_id, issue_token(admin_id, roles=["admin"]), "admin")
    Talking.place = Place(asyncio.get_running_loop(), (one, two), people, database, admin)
    long = pytestconfig.getoption("--chaos")
    Talking.until = time.monotonic() + (1800 if long else 45)
    profile = settings(
        max_examples=300 if long else 10,
        stateful_step_count=60 if long else 25,
        deadline=None,
        derandomize=not long,
        # What went wrong depends on time as well: making the story shorter would take hours, and lose it.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    await asyncio.to_thread(run_state_machine_as_test, Talking, settings=profile)
