"""Refreshing: one successor, a grace for answers that got lost, and no second chance for a thief. In both algorithms
where tokens are made; the refresh token itself has nothing to do with them."""

import asyncio
import base64
import secrets
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from auth_service.domain.tokens import RefreshKeys
from libs.testing.clock import FakeClock
from tests.auth.api import PASSWORD, Account, Api, account, claims, session_of
from tests.auth.conftest import OpenApi


async def counter(api: Api, made: Account) -> int:
    rows = await api.sql("SELECT counter FROM sessions WHERE id = :id", id=session_of(made.access))
    return int(rows[0].counter)


async def next_token(api: Api, token: str) -> str:
    answer = await api.refresh(token)
    assert answer.status_code == 200, answer.text
    following: str = answer.json()["refresh"]
    return following


async def refusal(api: Api, token: str) -> str:
    answer = await api.refresh(token)
    assert answer.status_code == 401, answer.text
    code: str = answer.json()["code"]
    return code


@pytest.mark.promise("A16")
async def test_every_refresh_gives_the_next_pair(either: Api) -> None:
    made = await either.register()
    pair = (await either.refresh(made.refresh)).json()
    assert pair["refresh"] != made.refresh
    assert session_of(pair["access"]) == session_of(made.access)
    assert claims(pair["access"])["jti"] != claims(made.access)["jti"]
    assert pair["tokens"]["refreshToken"] == pair["refreshToken"] == pair["data"]["refresh"] == pair["refresh"]
    assert pair["user"]["username"] == made.username
    assert (await either.me(pair["access"])).status_code == 200
    assert await counter(either, made) == 1


async def test_the_other_name_of_the_field_is_accepted(api: Api) -> None:
    made = await api.register()
    answer = await api.post("/api/v1/auth/token/refresh/", {"refreshToken": made.refresh})
    assert answer.status_code == 200


@pytest.mark.promise("A16")
async def test_no_refresh_token_is_stored(api: Api) -> None:
    made = await api.register()
    row = (await api.sql("SELECT s::text AS all_of_it FROM sessions AS s WHERE id = :id", id=session_of(made.access)))[
        0
    ]
    raw = base64.urlsafe_b64decode(made.refresh + "=" * (-len(made.refresh) % 4))
    assert raw[-16:].hex() not in row.all_of_it
    assert made.refresh not in row.all_of_it


@pytest.mark.promise("A18", "R3")
async def test_fifty_parallel_refreshes_get_one_successor(either: Api) -> None:
    made = await either.register()
    answers = await asyncio.gather(*(either.refresh(made.refresh) for _ in range(50)))
    assert {a.status_code for a in answers} == {200}
    successors = {a.json()["refresh"] for a in answers}
    assert len(successors) == 1
    assert await counter(either, made) == 1
    assert await next_token(either, successors.pop())


@pytest.mark.promise("A18")
async def test_the_last_token_gets_the_same_successor_for_thirty_seconds(still: Api) -> None:
    made = await still.register()
    successor = await next_token(still, made.refresh)
    for _ in range(7):
        still.clock.advance(4)
        assert await next_token(still, made.refresh) == successor
    assert await next_token(still, successor) != successor


@pytest.mark.promise("A17", "R1")
async def test_a_replaced_token_that_comes_late_ends_the_session(aging: Api) -> None:
    made = await aging.register()
    pair = (await aging.refresh(made.refresh)).json()
    aging.clock.advance(31)
    assert await refusal(aging, made.refresh) == "refresh_reused"
    assert await refusal(aging, pair["refresh"]) == "token_revoked"
    for token in (made.access, pair["access"]):
        assert await aging.ended(token) == "token_revoked"


@pytest.mark.promise("A45")
async def test_the_owner_hears_of_a_reused_token_once(aging: Api) -> None:
    made = await aging.register()
    await next_token(aging, made.refresh)
    aging.clock.advance(31)
    await asyncio.gather(*(aging.refresh(made.refresh) for _ in range(5)))
    assert [mail.kind for mail in await aging.mails(made.email)].count("refresh_reused") == 1
    rows = await aging.sql("SELECT * FROM audit WHERE subject_id = :id AND action = 'session.reused'", id=made.id)
    assert [(str(row.session_id), row.result) for row in rows] == [(session_of(made.access), "refused")]


@pytest.mark.promise("R2")
async def test_an_older_token_ends_the_session_at_once(api: Api) -> None:
    made = await api.register()
    second = await next_token(api, made.refresh)
    await next_token(api, second)
    assert await refusal(api, made.refresh) == "refresh_reused"
    assert await refusal(api, second) == "token_revoked"


@pytest.mark.promise("R4")
async def test_the_grace_has_no_count_but_the_limit_of_the_session(still: Api) -> None:
    made = await still.register()
    successor = await next_token(still, made.refresh)
    for _ in range(119):
        assert await next_token(still, made.refresh) == successor
    for token in (made.refresh, successor):
        limited = await still.refresh(token)
        assert limited.status_code == 429
        assert limited.json()["code"] == "rate_limited"
        assert 1 <= int(limited.headers["Retry-After"]) <= 61
    still.clock.advance(61)
    assert await next_token(still, successor)


@pytest.mark.promise("A20", "R5")
async def test_a_restart_forgives_nothing(open_api: OpenApi) -> None:
    clock = FakeClock()
    async with open_api(clock=clock) as first:
        made = await first.register()
        await next_token(first, made.refresh)
    clock.advance(31)
    async with open_api(clock=clock) as second:
        assert await refusal(second, made.refresh) == "refresh_reused"


@pytest.mark.promise("A20", "R7")
async def test_two_rotations_in_one_second_leave_no_gap(api: Api) -> None:
    made = await api.register()
    second = await next_token(api, made.refresh)
    third = await next_token(api, second)
    assert len({made.refresh, second, third}) == 3
    assert await refusal(api, made.refresh) == "refresh_reused"
    assert await refusal(api, third) == "token_revoked"


@pytest.mark.promise("A19", "R9")
async def test_a_shadow_that_alternates_with_the_owner_is_found(aging: Api) -> None:
    made = await aging.register()
    owners = await next_token(aging, made.refresh)
    aging.clock.advance(60)
    assert await refusal(aging, made.refresh) == "refresh_reused"
    assert await refusal(aging, owners) == "token_revoked"


async def sign_out(api: Api, made: Account, _other: Account) -> None:
    assert (await api.post("/api/v1/auth/logout", {}, made.access)).status_code == 200


async def end_it_elsewhere(api: Api, made: Account, other: Account) -> None:
    path = f"/api/v1/auth/sessions/{session_of(made.access)}"
    assert (await api.call("DELETE", path, other.access)).status_code == 204


async def change_password_elsewhere(api: Api, _made: Account, other: Account) -> None:
    body = {"current_password": PASSWORD, "new_password": "staple battery horse"}
    assert (await api.post("/api/v1/users/me/password", body, other.access)).status_code == 200


@pytest.mark.promise("A20", "R6")
@pytest.mark.parametrize("ends", [sign_out, end_it_elsewhere, change_password_elsewhere])
async def test_nothing_refreshes_after_the_end_has_returned(
    api: Api, ends: Callable[[Api, Account, Account], Awaitable[None]]
) -> None:
    for _ in range(8):
        made = await api.register()
        other = account(await api.sign_in(email=made.email))
        racing = [asyncio.create_task(api.refresh(made.refresh)) for _ in range(4)]
        await ends(api, made, other)
        assert await refusal(api, made.refresh) == "token_revoked"
        for answer in await asyncio.gather(*racing):
            assert answer.status_code in (200, 401)
            if answer.status_code == 200:
                assert await refusal(api, answer.json()["refresh"]) == "token_revoked"
                assert await api.ended(answer.json()["access"]) in ("token_revoked", "token_stale")


@pytest.mark.promise("R8")
async def test_forged_and_foreign_tokens_have_no_effect(api: Api) -> None:
    made = await api.register()
    sid = UUID(session_of(made.access))
    salt = (await api.sql("SELECT salt FROM sessions WHERE id = :id", id=sid))[0].salt
    other = await api.register()
    stranger = RefreshKeys("0:" + base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
    own = api.app.state.kit.mint.refresh
    raw = bytearray(base64.urlsafe_b64decode(made.refresh + "=" * (-len(made.refresh) % 4)))
    forgeries = [
        stranger.make(sid, 0, salt),
        own.make(sid, 0, b"0" * 16),
        own.make(sid, 7, salt),
        own.make(UUID(session_of(other.access)), 0, salt),
        own.make(UUID(int=1), 0, salt),
    ]
    for place in (0, 1, 5, 18, 19, len(raw) - 1):
        twisted = bytearray(raw)
        twisted[place] ^= 1
        forgeries.append(base64.urlsafe_b64encode(twisted).decode().rstrip("="))
    for token in forgeries:
        assert await refusal(api, token) == "invalid_token"
    assert await counter(api, made) == 0
    assert await counter(api, other) == 0
    assert await next_token(api, made.refresh)
    assert await next_token(api, other.refresh)


@pytest.mark.promise("R8")
@pytest.mark.parametrize(
    "token", ["x", "A" * 47, "A" * 64, "A" * 2000, "é" * 47, "=" * 48, "a\u0001b", "AQAB" * 15 + "\n"]
)
async def test_texts_that_are_no_tokens_are_refused(api: Api, token: str) -> None:
    assert await refusal(api, token) == "invalid_token"


@pytest.mark.promise("R8")
async def test_a_token_has_one_spelling(api: Api) -> None:
    made = await api.register()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet[alphabet.index(made.refresh[-1]) ^ 1]
    for token in (made.refresh + "=", made.refresh[:-1] + last, made.refresh + " ", "\n" + made.refresh):
        assert await refusal(api, token) == "invalid_token"
    assert await next_token(api, made.refresh)


@pytest.mark.promise("A16", "R10")
async def test_a_session_ends_after_seven_days_of_silence(aging: Api) -> None:
    made = await aging.register()
    aging.clock.advance(6 * 86_400)
    token = await next_token(aging, made.refresh)
    aging.clock.advance(6 * 86_400)
    token = await next_token(aging, token)
    aging.clock.advance(7 * 86_400 + 1)
    assert await refusal(aging, token) == "session_expired"


@pytest.mark.promise("A16", "R10")
async def test_a_session_ends_after_thirty_days_whatever_happens(aging: Api) -> None:
    token = (await aging.register()).refresh
    for _ in range(9):
        aging.clock.advance(3.3 * 86_400)
        token = await next_token(aging, token)
    aging.clock.advance(86_400)
    assert await refusal(aging, token) == "session_expired"


async def test_a_replaced_master_key_is_accepted_while_it_is_listed(open_api: OpenApi) -> None:
    old, new = (f"{n}:" + base64.urlsafe_b64encode(secrets.token_bytes(32)).decode() for n in (3, 200))
    async with open_api(refresh_keys=old) as api:
        kept, dropped = await api.register(), await api.register()
    async with open_api(refresh_keys=f"{new},{old}") as api:
        following = await next_token(api, kept.refresh)
    async with open_api(refresh_keys=new) as api:
        assert await next_token(api, following)
        assert await refusal(api, dropped.refresh) == "invalid_token"


@pytest.mark.parametrize("rotations", [127, 128, 16_384, 1 << 40])
async def test_a_session_may_be_refreshed_any_number_of_times(api: Api, rotations: int) -> None:
    made = await api.register()
    sid = UUID(session_of(made.access))
    rows = await api.sql("UPDATE sessions SET counter = :n WHERE id = :id RETURNING salt", n=rotations, id=sid)
    token = api.app.state.kit.mint.refresh.make(sid, rotations, rows[0].salt)
    assert len(token) <= 56
    following = await next_token(api, token)
    assert await next_token(api, token) == following
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    padded = raw[:-17] + bytes([raw[-17] | 0x80, 0]) + raw[-16:]
    assert await refusal(api, base64.urlsafe_b64encode(padded).decode().rstrip("=")) == "invalid_token"


async def test_a_refresh_remembers_where_it_came_from(api: Api) -> None:
    made = await api.register()
    body = {"refresh": made.refresh}
    pair = (await api.post("/api/v1/auth/token/refresh", body, headers={"User-Agent": "Moved/2"})).json()
    shown = (await api.get("/api/v1/auth/sessions", pair["access"])).json()["results"]
    assert [s["user_agent"] for s in shown] == ["Moved/2"]


@pytest.mark.parametrize("body", [{}, {"refresh": None}, {"refresh": 7}, {"refresh": "a" * 5000}, {"token": "a"}])
async def test_a_request_without_a_token_is_refused(api: Api, body: object) -> None:
    assert (await api.post("/api/v1/auth/token/refresh", body)).status_code == 422
