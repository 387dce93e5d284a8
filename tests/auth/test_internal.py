"""What other services may ask auth, and nobody else."""

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from libs.clock import Clock
from libs.contracts import SERVICES
from libs.contracts.callers import CALLERS
from libs.keys import KeyRing
from libs.outbox import open_relay
from libs.testing.tokens import access_claims
from libs.tokens import SERVICE, Issuer, ServiceTokens
from tests.auth.api import Api, session_of

Headers = Callable[[Api], dict[str, str]]
ROUTES = [f"/internal/users?id={UUID(int=1)}", "/internal/revocations", "/internal/events?after=0"]


def as_service(api: Api, service: str = "chat", target: str = "auth") -> dict[str, str]:
    token = ServiceTokens(api.ring, service, api.clock).token_for(target)
    return {"X-Service-Authorization": f"Bearer {token}"}


async def test_profiles_of_those_who_exist_are_given(api: Api) -> None:
    one, two, _ = [await api.register() for _ in range(3)]
    answer = await api.get(f"/internal/users?id={one.id}&id={two.id}&id={uuid4()}", headers=as_service(api))
    assert answer.status_code == 200
    users = {user["user_id"]: user for user in answer.json()["users"]}
    assert users.keys() == {str(one.id), str(two.id)}
    assert users[str(one.id)]["email"] == one.email
    assert (await api.events(one.id))[0][1]["profile"] == users[str(one.id)]


async def test_profiles_are_given_by_number_too(api: Api) -> None:
    one, _ = [await api.register() for _ in range(2)]
    (user,) = (await api.get(f"/internal/users?id={one.id}", headers=as_service(api))).json()["users"]
    answer = await api.get(f"/internal/users?number={user['number']}&number={1 << 60}", headers=as_service(api))
    assert answer.json() == {"users": [user]}


async def test_unconfirmed_registrations_do_not_exist(strict: Api) -> None:
    email = f"{uuid4().hex}@example.com"
    await strict.post("/api/v1/auth/register", {"email": email, "password": "correct horse battery"})
    user_id = (await strict.mails(email))[0].user_id
    answer = await strict.get(f"/internal/users?id={user_id}", headers=as_service(strict))
    assert answer.json() == {"users": []}


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?id=x",
        "?id=",
        "?number=x",
        "?number=0",
        f"?number={1 << 63}",
        "?id=1&id=2",
        "?" + "&".join(f"id={UUID(int=n)}" for n in range(501)),
    ],
)
async def test_ids_that_are_none_are_refused(api: Api, query: str) -> None:
    assert (await api.get(f"/internal/users{query}", headers=as_service(api))).status_code == 422


async def test_ended_sessions_are_listed_until_their_tokens_have_expired(aging: Api) -> None:
    ended, other = await aging.register(), await aging.register()
    await aging.post("/api/v1/auth/logout", {}, ended.access)
    answer = (await aging.get("/internal/revocations", headers=as_service(aging))).json()
    assert answer["sessions"][session_of(ended.access)] <= aging.clock.ms()
    assert session_of(other.access) not in answer["sessions"]
    aging.clock.advance(13 * 3600)
    later = (await aging.get("/internal/revocations", headers=as_service(aging))).json()
    assert session_of(ended.access) not in later["sessions"]


async def test_epochs_are_listed_with_them(api: Api) -> None:
    user, now = uuid4(), api.clock.ms()
    for kind, subject, epoch in (("user", user, now - 5), ("user", user, now), ("everyone", None, 7)):
        await api.sql(
            "INSERT INTO revocations (kind, subject, epoch_ms, created_at) VALUES (:kind, :subject, :epoch, now())",
            kind=kind,
            subject=subject,
            epoch=epoch,
        )
    answer = (await api.get("/internal/revocations", headers=as_service(api))).json()
    assert answer["users"][str(user)] == now
    assert answer["everyone"] == 7


async def test_events_are_given_from_any_position(api: Api) -> None:
    made = await api.register()
    url = api.db.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    async with open_relay(url, api.app.state.redis, "auth", Clock()) as relay:
        await relay.relay()
    head = (await api.get("/internal/events?after=0&limit=1", headers=as_service(api))).json()["head"]
    page = (await api.get(f"/internal/events?after={head - 2}", headers=as_service(api))).json()
    assert [event["position"] for event in page["events"]] == [head - 1, head]
    assert page["events"][0]["data"]["profile"]["user_id"] == str(made.id)


@pytest.mark.promise("A50", "Z13")
@pytest.mark.parametrize("path", ROUTES)
async def test_a_users_token_opens_no_internal_route(either: Api, path: str) -> None:
    made = await either.register()
    assert (await either.get(path, made.access)).status_code == 403
    assert (await either.get(path)).status_code == 401
    smuggled = {"X-Service-Authorization": f"Bearer {made.access}"}
    answer = await either.get(path, headers=smuggled)
    assert answer.status_code == 401
    assert answer.json()["code"] == "wrong_token_type"


@pytest.mark.promise("A50", "Z13")
async def test_a_service_token_opens_no_route_of_users(either: Api) -> None:
    token = as_service(either)["X-Service-Authorization"].removeprefix("Bearer ")
    for header in ("Authorization", "X-Service-Authorization"):
        answer = await either.get("/api/v1/users/me", headers={header: f"Bearer {token}"})
        assert answer.status_code == 401


@pytest.mark.promise("A50")
@pytest.mark.parametrize("path", ROUTES)
async def test_a_service_token_is_for_its_target_and_five_minutes(either: Api, path: str) -> None:
    assert (await either.get(path, headers=as_service(either))).status_code == 200
    assert (await either.get(path, headers=as_service(either, target="notify"))).status_code == 401
    now = int(either.clock.seconds())
    old = access_claims("chat", aud="auth", iat=now - 400, nbf=now - 400, exp=now - 100)
    expired = Issuer(either.ring, owner="chat", typ=SERVICE).sign(old)
    answer = await either.get(path, headers={"X-Service-Authorization": f"Bearer {expired}"})
    assert answer.json()["code"] == "token_expired"


@pytest.mark.promise("A50")
@pytest.mark.parametrize("path", ROUTES)
async def test_a_service_asks_only_what_it_needs(either: Api, path: str) -> None:
    asking = {
        service: (await either.get(path, headers=as_service(either, service))).status_code for service in SERVICES
    }
    assert {service for service, status in asking.items() if status == 200} == CALLERS["auth", path.partition("?")[0]]
    assert set(asking.values()) == {200, 403}


@pytest.mark.promise("A50")
async def test_a_service_speaks_for_itself_only(either: Api, key_ring: KeyRing) -> None:
    posing = Issuer(either.ring, owner="notify", typ=SERVICE).sign(access_claims("chat", aud="auth"))
    foreign = ServiceTokens(key_ring, "chat", either.clock).token_for("auth")
    for token in (posing, foreign):
        answer = await either.get("/internal/revocations", headers={"X-Service-Authorization": f"Bearer {token}"})
        assert answer.json()["code"] == "invalid_token"
