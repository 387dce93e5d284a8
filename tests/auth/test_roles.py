"""Who of staff may do what, and how roles change."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi.dependencies.models import Dependant
from sqlalchemy import text

from auth_service.deps import Permitted
from auth_service.domain.roles import PERMISSIONS, allows
from auth_service.models import ROLES
from tests.architecture.apps import apps, routes
from tests.auth.api import PASSWORD, Account, Api, claims

ADMIN = "/api/v1/admin/auth"
PAGE = Path(__file__).parents[2] / "docs/roles.md"


def permission_of(dependant: Dependant) -> str | None:
    own = dependant.call.permission if isinstance(dependant.call, Permitted) else None
    return own or next(filter(None, map(permission_of, dependant.dependencies)), None)


def staff_routes() -> Iterator[tuple[str, str, str | None]]:
    for route in routes(apps()["auth"]):
        if "/admin/" in route.path:
            for method in route.methods - {"HEAD"}:
                yield method, route.path, permission_of(route.dependant)


ROUTES = sorted(staff_routes())


@pytest.fixture(scope="module")
async def people(shared: Api) -> dict[str, Account]:
    return {role: await shared.staff(role) for role in ROLES}


@pytest.mark.promise("A42")
def test_every_staff_route_needs_a_permission() -> None:
    assert len(ROUTES) > 10
    assert {permission for _, _, permission in ROUTES} <= set.union(*map(set, PERMISSIONS.values()))


@pytest.mark.promise("A42", "Z2")
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("method", "path", "permission"), ROUTES)
async def test_each_route_is_for_those_who_may(
    api: Api, people: dict[str, Account], method: str, path: str, permission: str, role: str
) -> None:
    """With ids that nobody has and a body that is no body, so that what is allowed does nothing."""
    nobody = re.sub(r"\{\w+\}", str(uuid4()), path)
    answer = await api.call(method, nobody, people[role].access, json={"no": "such field"})
    if allows([role], permission):
        assert answer.status_code in (200, 202, 404, 422)
    else:
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")


@pytest.mark.promise("A42")
@pytest.mark.parametrize(("method", "path", "_permission"), ROUTES)
async def test_nobody_gets_in_without_a_token(api: Api, method: str, path: str, _permission: str) -> None:
    assert (await api.call(method, re.sub(r"\{\w+\}", str(uuid4()), path))).status_code == 401


@pytest.mark.promise("A42")
def test_the_page_is_the_table() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)` \|(.*)\| [^|]+ \|$", PAGE.read_text(), re.MULTILINE)
    shown = {name: [cell.strip() == "yes" for cell in cells.split("|")] for name, cells in rows}
    known = sorted(set.union(*map(set, PERMISSIONS.values())))
    assert shown == {name: [allows([role], name) for role in ROLES] for name in known}
    assert list(shown) == known


async def test_a_refusal_is_in_the_audit_log(api: Api) -> None:
    made = await api.register()
    await api.get(f"{ADMIN}/users", made.access)
    rows = await api.sql(
        "SELECT result, data FROM audit WHERE actor_id = :id AND action = 'permission.used'", id=made.id
    )
    assert [(row.result, row.data) for row in rows] == [("refused", {"permission": "users.read"})]


async def put_roles(api: Api, staff: Account, user: Account, *roles: str) -> Any:
    return await api.call("PUT", f"{ADMIN}/users/{user.id}/roles", staff.access, json={"roles": roles})


@pytest.mark.promise("A43")
async def test_a_new_role_holds_from_the_next_request_on(api: Api) -> None:
    admin, made = await api.staff("admin"), await api.register()
    answer = await put_roles(api, admin, made, "support")
    assert answer.json()["roles"] == ["user", "support"]
    assert await api.ended(made.access) == "token_stale"
    renewed = (await api.refresh(made.refresh)).json()["access"]
    assert claims(renewed)["roles"] == ["user", "support"]
    assert (await api.get(f"{ADMIN}/users", renewed)).status_code == 200


@pytest.mark.promise("A43")
async def test_a_lost_role_is_lost_with_the_next_request(api: Api) -> None:
    admin, other = await api.staff("admin"), await api.staff("moderator")
    assert (await put_roles(api, admin, other)).json()["roles"] == ["user"]
    assert await api.ended(other.access) == "token_stale"
    renewed = (await api.refresh(other.refresh)).json()["access"]
    assert (await api.get(f"{ADMIN}/users", renewed)).status_code == 403


TOKENS: dict[str, Callable[[Api, Account, str], Awaitable[Any]]] = {
    "refresh": lambda api, made, following: api.refresh(following),
    "refresh within the grace": lambda api, made, following: api.refresh(made.refresh),
    "sign-in": lambda api, made, following: api.sign_in(email=made.email),
    "step-up": lambda api, made, following: api.post("/api/v1/auth/reauth", {"password": PASSWORD}, made.access),
}


@pytest.mark.promise("A43")
@pytest.mark.parametrize("way", TOKENS)
async def test_no_token_that_is_made_meanwhile_keeps_a_lost_role(api: Api, way: str) -> None:
    """The change is held up halfway: the role is taken, and the commit waits for a table that we lock."""
    admin, made = await api.staff("admin"), await api.staff("moderator")
    following = (await api.refresh(made.refresh)).json()["refresh"]
    async with api.db.transaction() as db:
        await db.execute(text("LOCK TABLE revocations IN EXCLUSIVE MODE"))
        changing = asyncio.create_task(put_roles(api, admin, made))
        await until_waiting(api, 1, changing)
        racing = asyncio.create_task(TOKENS[way](api, made, following))
        await until_waiting(api, 2, racing)
    assert (await changing).json()["roles"] == ["user"]
    token = (await racing).json()["access"]
    assert claims(token)["roles"] == ["user"]
    assert (await api.me(token)).status_code == 200


async def until_waiting(api: Api, most: int, task: asyncio.Task[Any]) -> None:
    """Until so many wait for locks, or the last to come did not have to."""
    waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(20):
        while not task.done() and len(await api.sql(waiting)) < most:
            await asyncio.sleep(0.01)


async def test_others_are_told_of_a_change(api: Api) -> None:
    admin, made = await api.staff("admin"), await api.register()
    await put_roles(api, admin, made, "moderator")
    kind, data = (await api.events(made.id))[-1]
    assert (kind, data["profile"]["roles"]) == ("UserUpdated", ["user", "moderator"])
    rows = await api.sql(
        "SELECT actor_id, data FROM audit WHERE subject_id = :id AND action = 'roles.changed'", id=made.id
    )
    assert [(row.actor_id, row.data["after"]) for row in rows] == [(admin.id, ["user", "moderator"])]


async def test_the_same_roles_change_nothing(api: Api) -> None:
    admin, made = await api.staff("admin"), await api.register()
    await put_roles(api, admin, made, "user")
    assert (await api.me(made.access)).status_code == 200


async def test_a_change_of_roles_needs_a_fresh_proof(aging: Api) -> None:
    admin, made = await aging.staff("admin"), await aging.register()
    aging.clock.advance(301)
    answer = await put_roles(aging, admin, made, "admin")
    assert (answer.status_code, answer.json()["code"]) == (403, "reauth_required")


async def test_there_are_no_other_roles(api: Api) -> None:
    admin, made = await api.staff("admin"), await api.register()
    assert (await put_roles(api, admin, made, "root")).status_code == 422


async def test_the_last_administrator_stays(alone: Api) -> None:
    admin = await alone.staff("admin")
    answer = await put_roles(alone, admin, admin, "support")
    assert (answer.status_code, answer.json()["code"]) == (409, "last_administrator")
    assert (await alone.get(f"{ADMIN}/users", admin.access)).status_code == 200


async def test_two_administrators_cannot_take_each_other_away(alone: Api) -> None:
    one, two = [await alone.staff("admin") for _ in range(2)]
    answers = await asyncio.gather(put_roles(alone, one, two), put_roles(alone, two, one))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    left = await alone.sql("SELECT id FROM users WHERE 'admin' = ANY (roles)")
    assert len(left) == 1
