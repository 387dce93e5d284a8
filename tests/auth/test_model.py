"""Random walks through the life of sessions, beside a model that knows after each step which tokens must work.

The model has its own idea of the rules, and nothing of the service's code. A walk that fails says its steps.
"""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from random import Random  # noqa: TID251  -- seeded, so that a failure can be repeated
from typing import Any

import pytest

from auth_service import worker
from libs.testing.clock import StillClock
from tests.auth.api import Account, Api, claims, session_of
from tests.auth.conftest import OpenApi

WALKS = 3
GRACE = 30
SKEW = 30
# A moment of its own, and one that a binary fraction says exactly.
MOMENT = 0.125
MOST_SESSIONS = 4


@dataclass(eq=False)
class Person:
    email: str
    id: str
    roles: list[str] = field(default_factory=lambda: ["user"])
    # Access tokens from before it are out of date.
    changed: float = 0.0


@dataclass(eq=False)
class Session:
    """All that it was ever given, the oldest first."""

    name: str
    owner: Person
    id: str
    refresh: list[str]
    access: list[str]
    rotated: float
    ended: bool = False

    @property
    def newest(self) -> int:
        return len(self.refresh) - 1

    def access_refusal(self, token: str, now: float) -> str | None:
        said = claims(token)
        if now >= said["exp"] + SKEW:
            return "token_expired"
        if self.ended:
            return "token_revoked"
        return "token_stale" if said["iat_ms"] < self.owner.changed * 1000 else None

    def refresh_refusal(self, place: int, now: float) -> str | None:
        if self.ended:
            return "token_revoked"
        behind = self.newest - place
        late = behind == 1 and now - self.rotated > GRACE
        return "refresh_reused" if behind > 1 or late else None


@dataclass
class Walk:
    api: Api
    admin: Account
    dice: Random
    reopen: Callable[[], Awaitable[Api]]
    people: list[Person] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)

    @property
    def now(self) -> float:
        return self.api.clock.seconds()

    def running(self, owner: Person) -> list[Session]:
        return [session for session in self.sessions if session.owner is owner and not session.ended]

    def say(self, step: str) -> None:
        self.steps.append(f"{len(self.steps) + 1}. {step}")

    def some_session(self) -> Session:
        """One that runs, as a rule."""
        running = [session for session in self.sessions if not session.ended]
        return self.mostly(running)

    def some_actor(self) -> Session:
        """One whose last access token works, as a rule."""
        return self.mostly([one for one in self.sessions if not one.access_refusal(one.access[-1], self.now)])

    def mostly(self, these: list[Session]) -> Session:
        return self.dice.choice(these if these and self.dice.random() < 0.9 else self.sessions)

    async def arrive(self, name: str) -> None:
        made = await self.api.register()
        person = Person(made.email, str(made.id))
        self.people.append(person)
        self.open(person, {"access": made.access, "refresh": made.refresh})
        self.say(f"{name} registers")

    def open(self, owner: Person, pair: Any) -> Session:
        name = f"s{len(self.sessions)}"
        session = Session(name, owner, session_of(pair["access"]), [pair["refresh"]], [pair["access"]], self.now)
        self.sessions.append(session)
        return session

    # What can happen. Each step foresees its answer by the model, and changes the model alike.

    async def sign_in(self, person: Person | None = None) -> None:
        owner = person or self.dice.choice(self.people)
        if person or len(self.running(owner)) < MOST_SESSIONS:
            answer = await self.api.sign_in(email=owner.email)
            assert answer.status_code == 200, answer.text
            self.say(f"{self.open(owner, answer.json()).name} begins by a sign-in")

    async def refresh(self) -> None:
        await self.present(session := self.some_session(), session.newest)

    async def repeat(self) -> None:
        await self.present(session := self.some_session(), max(0, session.newest - 1))

    async def reuse(self) -> None:
        """Of a token that is older still, where there is one."""
        older = [session for session in self.sessions if session.newest > 1 and not session.ended]
        session = self.dice.choice(older or self.sessions)
        await self.present(session, self.dice.randrange(max(1, session.newest - 1)))

    async def present(self, session: Session, place: int) -> None:
        """A refresh token: that after `place` rotations."""
        self.say(f"{session.name} refreshes with token {place} of {session.newest}")
        refusal = session.refresh_refusal(place, self.now)
        answer = await self.api.refresh(session.refresh[place])
        if refusal is None:
            assert answer.status_code == 200, answer.text
            self.renew(session, place, answer.json())
        else:
            assert (answer.status_code, answer.json()["code"]) == (401, refusal)
            session.ended = True

    def renew(self, session: Session, place: int, pair: Any) -> None:
        assert session_of(pair["access"]) == session.id
        assert claims(pair["access"])["roles"] == session.owner.roles
        session.access.append(pair["access"])
        if place == session.newest:
            assert pair["refresh"] not in session.refresh
            session.refresh.append(pair["refresh"])
            session.rotated = self.now
        else:
            assert pair["refresh"] == session.refresh[-1]

    async def sign_out(self) -> None:
        session, other = self.some_actor(), self.some_session()
        self.say(f"{session.name} signs out and names the refresh token of {other.name}")
        answer = await self.as_one(session, "POST", "/api/v1/auth/logout", json={"refresh": other.refresh[-1]})
        if answer is not None:
            assert answer.status_code == 200
            session.ended = True
            other.ended |= other.owner is session.owner

    async def sign_out_everywhere(self) -> None:
        session = self.some_actor()
        route = self.dice.choice(["logout-all", "logout-others"])
        self.say(f"{session.name}: {route}")
        answer = await self.as_one(session, "POST", f"/api/v1/auth/{route}")
        if answer is not None:
            ending = [one for one in self.running(session.owner) if route == "logout-all" or one is not session]
            assert answer.json()["ended"] == len(ending)
            for one in ending:
                one.ended = True

    async def revoke(self) -> None:
        session, other = self.some_actor(), self.some_session()
        self.say(f"{session.name} ends {other.name}")
        answer = await self.as_one(session, "DELETE", f"/api/v1/auth/sessions/{other.id}")
        if answer is not None:
            possible = other in self.running(session.owner)
            assert answer.status_code == (204 if possible else 404)
            other.ended |= possible

    async def as_one(self, session: Session, method: str, path: str, **options: Any) -> Any:
        """The answer, or None where the session's last access token must not work and did not."""
        await self.check_access(session, session.access[-1])
        if session.access_refusal(session.access[-1], self.now) is None:
            return await self.api.call(method, path, session.access[-1], **options)
        return None

    async def change_roles(self) -> None:
        person = self.dice.choice(self.people)
        wanted = ["user"] if len(person.roles) > 1 else ["user", "support"]
        self.say(f"{person.email} gets the roles {wanted}")
        self.api.clock.advance(MOMENT)
        fresh = (await self.api.sign_in(email=self.admin.email)).json()["access"]
        path = f"/api/v1/admin/auth/users/{person.id}/roles"
        answer = await self.api.call("PUT", path, fresh, json={"roles": wanted})
        assert answer.json()["roles"] == wanted
        person.roles, person.changed = wanted, self.now

    async def restart(self) -> None:
        self.say("restart")
        self.api = replace(await self.reopen(), address=self.api.address)

    async def beat(self) -> None:
        """For the next seconds the process answers from memory; else it asks Redis each time."""
        self.say("the worker tells that revocations flow")
        await worker.beat(self.api.db, self.api.app.state.redis, self.api.clock, epoch="walk")

    async def wait(self) -> None:
        seconds = self.dice.choices([0, 10, GRACE, GRACE + 1, 1200], [1, 3, 2, 2, 1])[0]
        self.say(f"{seconds} s pass")
        self.api.clock.advance(seconds)

    # What holds after each step.

    async def check(self) -> None:
        """All sessions that run, and of the others some."""
        ended = [session for session in self.sessions if session.ended]
        shown = ended if len(ended) <= 3 else [ended[-1], *self.dice.sample(ended[:-1], 2)]
        for session in [one for one in self.sessions if not one.ended] + shown:
            for token in session.access[-2:]:
                await self.check_access(session, token)
            await self.check_refresh(session)
        for person in self.people:
            await self.check_list(person)

    async def check_access(self, session: Session, token: str) -> None:
        refusal = session.access_refusal(token, self.now)
        if refusal is None:
            answer = await self.api.me(token)
            assert answer.status_code == 200, f"an access token of {session.name} must work: {answer.json()['code']}"
        else:
            told = f"an access token of {session.name} must not work: {refusal}"
            assert await self.api.ended(token) == refusal, told

    async def check_refresh(self, session: Session) -> None:
        """Only what a question does not change: tokens of ended sessions, and the last but one within the grace."""
        asked = {0, session.newest} if session.ended else {session.newest - 1} - {-1}
        for place in asked:
            refusal = session.refresh_refusal(place, self.now)
            if session.ended or refusal is None:
                answer = await self.api.refresh(session.refresh[place])
                told = f"refresh token {place} of {session.name}: {answer.text}"
                assert answer.json().get("code") == refusal, told
                assert answer.json().get("refresh") == (None if refusal else session.refresh[-1]), told

    async def check_list(self, person: Person) -> None:
        for session in self.running(person):
            if session.access_refusal(session.access[-1], self.now) is None:
                listed = await self.api.get("/api/v1/auth/sessions", session.access[-1])
                shown = {each["id"] for each in listed.json()["results"]}
                assert shown == {each.id for each in self.running(person)}
                return

    async def finish(self) -> None:
        """What asking would have changed: the last refresh token of each session works, an older one ends it."""
        for person in self.people:
            await self.sign_in(person)
        for turn, session in enumerate(self.sessions):
            for _ in range(2):
                await self.present(session, session.newest)
            if turn % 2:
                await self.present(session, max(0, session.newest - 2))
        self.api.clock.advance(GRACE)
        await self.check()
        self.api.clock.advance(MOMENT)
        for session in self.sessions:
            await self.present(session, max(0, session.newest - 1))
        await self.check()


# How often each happens in a walk; the dice decide when, and to whom.
STEPS: dict[Callable[[Walk], Awaitable[None]], int] = {
    Walk.sign_in: 5,
    Walk.refresh: 7,
    Walk.repeat: 3,
    Walk.reuse: 1,
    Walk.sign_out: 2,
    Walk.sign_out_everywhere: 2,
    Walk.revoke: 2,
    Walk.change_roles: 2,
    Walk.restart: 2,
    Walk.beat: 1,
    Walk.wait: 6,
}


@pytest.mark.promise("A16", "A17", "A18", "A20", "A21", "A22", "A23", "A43")
@pytest.mark.parametrize("seed", range(WALKS))
async def test_whatever_happens_tokens_work_as_promised(open_api: OpenApi, seed: int) -> None:
    clock = StillClock()
    async with AsyncExitStack() as running:

        async def reopen() -> Api:
            await running.aclose()
            return await running.enter_async_context(open_api(clock=clock))

        api = await reopen()
        walk = Walk(api, await api.staff("admin"), Random(seed), reopen)
        try:
            await take(walk)
        except (AssertionError, TimeoutError) as error:
            error.add_note("\n".join([f"The steps of walk {seed}:", *walk.steps]))
            raise


async def take(walk: Walk) -> None:
    for name in ("Ada", "Grace"):
        await walk.arrive(name)
    deck = [step for step, times in STEPS.items() for _ in range(times)]
    walk.dice.shuffle(deck)
    for step in deck:
        await step(walk)
        await walk.check()
    await walk.finish()
