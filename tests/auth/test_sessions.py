"""Sessions as their owner sees and ends them, and that ended is ended everywhere."""

import asyncio
from uuid import uuid4

import httpx2
import pytest
from redis.asyncio import Redis
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from libs.revocation import SESSION_KEY
from tests.auth.api import PASSWORD, Api, account, session_of, unique
from tests.auth.conftest import OpenApi

SESSIONS = "/api/v1/auth/sessions"
LOGOUT = "/api/v1/auth/logout"


@pytest.mark.promise("A21", "R12")
async def test_signing_out_ends_both_tokens(either: Api, redis: Redis) -> None:
    made = await either.register()
    answer = await either.post(LOGOUT, {"refresh": made.refresh}, made.access)
    assert answer.status_code == 200
    assert answer.json() == {"status": "logged_out"}
    assert await redis.get(SESSION_KEY + session_of(made.access)) == b"1"
    assert await either.ended(made.access) == "token_revoked"
    assert (await either.refresh(made.refresh)).json()["code"] == "token_revoked"
    assert (await either.post(LOGOUT, {}, made.access)).status_code == 401


@pytest.mark.promise("A21", "R12")
async def test_another_process_refuses_the_ended_session(api: Api, open_api: OpenApi) -> None:
    made = await api.register()
    async with open_api() as other:
        assert (await other.me(made.access)).status_code == 200
        await api.post(LOGOUT, {}, made.access)
        assert await other.ended(made.access) == "token_revoked"


@pytest.mark.promise("A21")
async def test_signing_out_succeeds_while_redis_is_away(open_api: OpenApi, api: Api) -> None:
    made = await api.register()
    async with open_api(redis_url="redis://127.0.0.1:1/0") as cut_off:
        assert (await cut_off.post(LOGOUT, {}, made.access)).status_code == 200
        assert (await cut_off.refresh(made.refresh)).status_code == 401
    rows = await api.sql("SELECT published_at FROM revocations WHERE subject = :id", id=session_of(made.access))
    assert [row.published_at for row in rows] == [None]


@pytest.mark.parametrize("body", [None, {}, {"refresh": None}, {"refreshToken": "nonsense"}])
async def test_the_refresh_token_is_not_needed_to_sign_out(api: Api, body: object) -> None:
    made = await api.register()
    answer = await (api.call("POST", LOGOUT, made.access) if body is None else api.post(LOGOUT, body, made.access))
    assert answer.status_code == 200


async def test_signing_out_ends_the_session_of_the_refresh_token_too(api: Api) -> None:
    made = await api.register()
    other = account(await api.sign_in(email=made.email))
    stranger = await api.register()
    await api.post(LOGOUT, {"refreshToken": other.refresh}, made.access)
    assert (await api.refresh(other.refresh)).status_code == 401
    remaining = account(await api.sign_in(email=made.email))
    assert (await api.post(LOGOUT, {"refresh": stranger.refresh}, remaining.access)).status_code == 200
    assert (await api.refresh(stranger.refresh)).status_code == 200


async def test_one_sees_ones_own_sessions_only(api: Api) -> None:
    made, other = await api.register(), await api.register()
    again = account(await api.sign_in(email=made.email))
    ended = account(await api.sign_in(email=made.email))
    await api.post(LOGOUT, {}, ended.access)
    shown = (await api.get(SESSIONS, made.access)).json()["results"]
    assert [s["id"] for s in shown] == [session_of(again.access), session_of(made.access)]
    assert [s["current"] for s in shown] == [False, True]
    assert session_of(other.access) not in str(shown)


async def test_the_list_comes_in_pages(api: Api) -> None:
    made = await api.register()
    for _ in range(4):
        await api.sign_in(email=made.email)
    seen: list[str] = []
    path: str | None = f"{SESSIONS}?limit=2"
    while path:
        page = (await api.get(path, made.access)).json()
        seen += [s["id"] for s in page["results"]]
        path = page["next"]
    assert len(seen) == len(set(seen)) == 5
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize("query", ["cursor=x", "cursor=WzFd", "cursor=WyJ4Il0", "limit=0", "limit=101", "limit=x"])
async def test_a_page_that_is_none_is_refused(api: Api, query: str) -> None:
    made = await api.register()
    assert (await api.get(f"{SESSIONS}?{query}", made.access)).status_code == 422


async def test_one_ends_another_session_of_ones_own(api: Api) -> None:
    made = await api.register()
    lost = account(await api.sign_in(email=made.email))
    answer = await api.call("DELETE", f"{SESSIONS}/{session_of(lost.access)}", made.access)
    assert answer.status_code == 204
    assert answer.content == b""
    assert await api.ended(lost.access) == "token_revoked"
    assert (await api.refresh(lost.refresh)).status_code == 401
    assert (await api.me(made.access)).status_code == 200
    again = await api.call("DELETE", f"{SESSIONS}/{session_of(lost.access)}", made.access)
    assert again.status_code == 404


@pytest.mark.promise("R13")
async def test_somebody_elses_session_is_not_found(api: Api) -> None:
    made, victim = await api.register(), await api.register()
    for session_id in (session_of(victim.access), str(uuid4())):
        answer = await api.call("DELETE", f"{SESSIONS}/{session_id}", made.access)
        assert answer.status_code == 404
        assert answer.json()["code"] == "not_found"
    assert (await api.me(victim.access)).status_code == 200
    assert (await api.refresh(victim.refresh)).status_code == 200


async def test_simultaneous_endings_have_one_success(api: Api) -> None:
    made = await api.register()
    lost = account(await api.sign_in(email=made.email))
    path = f"{SESSIONS}/{session_of(lost.access)}"
    answers = await asyncio.gather(*(api.call("DELETE", path, made.access) for _ in range(10)))
    assert sorted(a.status_code for a in answers) == [204] + [404] * 9


async def test_the_address_is_the_forwarded_one_and_shown_as_its_network(open_api: OpenApi) -> None:
    async with open_api() as api:
        proxied = ProxyHeadersMiddleware(api.app, trusted_hosts="10.0.0.0/8")  # type: ignore[arg-type]
        headers = {"X-Forwarded-For": "203.0.113.77", "X-Client-Country": "NL", "User-Agent": "Phone/1\x1b[31m"}
        for peer, ip, country in (("10.1.2.3", "203.0.113.0", "NL"), ("198.51.100.9", "198.51.100.0", None)):
            shown = await first_session(proxied, peer, headers)
            assert (shown["ip"], shown["country"]) == (ip, country)
            assert shown["user_agent"] == "Phone/1[31m"
        headers["X-Forwarded-For"] = "2001:db8:1:2:3::4"
        assert (await first_session(proxied, "10.1.2.3", headers))["ip"] == "2001:db8:1::"
        headers |= {"X-Forwarded-For": "unknown", "X-Client-Country": "nowhere"}
        shown = await first_session(proxied, "10.1.2.3", headers)
        assert (shown["ip"], shown["country"]) == (None, None)


async def first_session(app: object, peer: str, headers: dict[str, str]) -> dict[str, str | None]:
    transport = httpx2.ASGITransport(app=app, client=(peer, 4711))  # type: ignore[arg-type]
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
        body = {"email": f"{unique()}@example.com", "password": PASSWORD}
        made = (await http.post("/api/v1/auth/register", json=body, headers=headers)).json()
        answer = await http.get(SESSIONS, headers={"Authorization": f"Bearer {made['access']}"})
        shown: dict[str, str | None] = answer.json()["results"][0]
        return shown


@pytest.mark.promise("A22")
async def test_signing_out_everywhere_ends_all_sessions(either: Api) -> None:
    made, stranger = await either.register(), await either.register()
    other = account(await either.sign_in(email=made.email))
    answer = await either.post("/api/v1/auth/logout-all", None, made.access)
    assert answer.json() == {"status": "logged_out", "ended": 2, "api_tokens": 0}
    for ended in (made, other):
        assert await either.ended(ended.access) == "token_revoked"
        assert (await either.refresh(ended.refresh)).json()["code"] == "token_revoked"
    assert (await either.refresh(stranger.refresh)).status_code == 200


@pytest.mark.promise("A22")
async def test_signing_out_elsewhere_keeps_this_session(api: Api) -> None:
    made = await api.register()
    others = [account(await api.sign_in(email=made.email)) for _ in range(3)]
    answer = await api.post("/api/v1/auth/logout-others", None, made.access)
    assert answer.json() == {"status": "logged_out", "ended": 3, "api_tokens": 0}
    for other in others:
        assert await api.ended(other.access) == "token_revoked"
        assert (await api.refresh(other.refresh)).status_code == 401
    assert (await api.me(made.access)).status_code == 200
    assert (await api.refresh(made.refresh)).status_code == 200


async def test_the_end_of_a_session_is_in_the_audit_log(api: Api) -> None:
    made = await api.register()
    await api.post(LOGOUT, {}, made.access)
    query = "SELECT action, reason, session_id FROM audit WHERE subject_id = :id ORDER BY id"
    rows = await api.sql(query, id=made.id)
    assert (rows[-1].action, rows[-1].reason, str(rows[-1].session_id)) == (
        "session.ended",
        "sign_out",
        session_of(made.access),
    )


AGENTS = {
    "Mozilla/5.0 (Windows NT 10.0; rv:128.0) Gecko/20100101 Firefox/128.0": ("computer", "Windows", "Firefox 128"),
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
    " Edg/126.0.2592.87": ("computer", "Windows", "Edge 126"),
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5"
    " Safari/605.1.15": ("computer", "macOS", "Safari 17"),
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36": (
        "computer", "Linux", "Chrome 126",
    ),
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5"
    " Mobile/15E148 Safari/604.1": ("phone", "iOS 17", "Safari 17"),
    "Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/126.0 Mobile/15E148"
    " Safari/604.1": ("tablet", "iPadOS 17", "Chrome 126"),
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile"
    " Safari/537.36": ("phone", "Android 14", "Chrome 126"),
    "ParleyPhone/3 CFNetwork/1496 Darwin/23.5.0": ("phone", "iOS", "ParleyPhone 3"),
    "curl/8.5.0": ("unknown", None, "curl 8"),
    "": ("unknown", None, None),
    "(" * 300: ("unknown", None, None),
}  # fmt: skip


@pytest.mark.promise("A24")
@pytest.mark.parametrize("agent", AGENTS)
async def test_a_session_shows_device_system_and_app(api: Api, agent: str) -> None:
    body = {"email": f"{unique()}@example.com", "password": PASSWORD}
    made = account(await api.post("/api/v1/auth/register", body, headers={"User-Agent": agent}))
    shown = (await api.get(SESSIONS, made.access)).json()["results"][0]
    assert (shown["device"], shown["os"], shown["app"]) == AGENTS[agent]
    assert shown["amr"] == ["pwd"]
    assert shown["created_at"] <= shown["last_seen_at"]


@pytest.mark.promise("A25")
async def test_beyond_twenty_sessions_the_longest_idle_one_ends(aging: Api) -> None:
    made = await aging.register()
    aging.clock.advance(60)
    second = account(await aging.sign_in(email=made.email))
    aging.clock.advance(60)
    kept = (await aging.refresh(made.refresh)).json()
    for _ in range(18):
        await aging.sign_in(email=made.email)
    assert (await aging.me(second.access)).status_code == 200
    await aging.sign_in(email=made.email)
    assert (await aging.refresh(second.refresh)).json()["code"] == "token_revoked"
    assert (await aging.refresh(kept["refresh"])).status_code == 200
    mail = (await aging.mails(made.email))[-1]
    assert (mail.kind, set(mail.variables)) == ("session_limit", {"device"})


@pytest.mark.promise("A25")
async def test_simultaneous_sign_ins_respect_the_limit(open_api: OpenApi) -> None:
    async with open_api(sessions_per_user=3) as api:
        made = await api.register()
        other = await api.register()
        answers = await asyncio.gather(*(api.sign_in(email=made.email) for _ in range(8)))
        assert {a.status_code for a in answers} == {200}
        still = [(await api.refresh(account(a).refresh)).status_code for a in answers]
        assert sorted(still) == [200] * 3 + [401] * 5
        assert (await api.refresh(other.refresh)).status_code == 200


async def test_an_expired_session_takes_no_place(open_api: OpenApi) -> None:
    async with open_api(sessions_per_user=1) as api:
        made = await api.register()
        api.clock.advance(8 * 86_400)
        await api.sign_in(email=made.email)
        assert [mail.kind for mail in await api.mails(made.email)] == ["verify_email"]
