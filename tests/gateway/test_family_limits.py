"""Each existing client has an allowance of its own, and is told of its limits in its own words."""

import asyncio
import json

import pytest

from gateway.domain.gcra import Limit
from gateway.domain.policy_file import PolicyFile
from gateway.domain.table import Table
from libs.families import Family, family_of
from tests.conftest import IssueToken
from tests.gateway.conftest import Start
from tests.gateway.test_limits import ANSWER, statuses

CALLS = {
    Family.CANONICAL: ANSWER,
    Family.SENDER: "/api/communications/email/",
    Family.HUB: "/api/auth/me",
    Family.ROOMS: "/api/chat/rooms/",
}
LIMITS = {Family.CANONICAL: "user", Family.SENDER: "sender", Family.HUB: "hub", Family.ROOMS: "rooms"}
SIGN_INS = {
    Family.CANONICAL: ("/api/v1/auth/login", "limit_login"),
    Family.SENDER: ("/api/auth/login/", "limit_sender_login"),
    Family.HUB: ("/api/auth/login", "limit_hub_sign_in"),
    Family.ROOMS: ("/api/users/login/", "limit_rooms_login"),
}


@pytest.mark.promise("K8")
@pytest.mark.parametrize("family", CALLS)
async def test_used_up_limit_of_one_client_leaves_the_others_theirs(
    open_door: Start, issue_token: IssueToken, caller: str, family: Family
) -> None:
    limits = {f"limit_{limit}": "2/h by caller" for limit in LIMITS.values()}
    door = await open_door(**limits)
    mine = {"Authorization": f"Bearer {issue_token()}"}
    assert await statuses(door, 3, CALLS[family], caller=caller, **mine) == [200, 200, 429]
    for other, path in CALLS.items():
        if other is not family:
            assert await statuses(door, 1, path, caller=caller, **mine) == [200]


@pytest.mark.promise("K8")
@pytest.mark.parametrize("family", SIGN_INS)
async def test_used_up_sign_ins_of_one_client_leave_the_others_theirs(
    open_door: Start, caller: str, family: Family
) -> None:
    door = await open_door(**{setting: "1/h" for _, setting in SIGN_INS.values()})
    assert await statuses(door, 2, SIGN_INS[family][0], "POST", caller=caller) == [200, 429]
    for other, (path, _) in SIGN_INS.items():
        if other is not family:
            assert await statuses(door, 1, path, "POST", caller=caller) == [200]


@pytest.mark.promise("K8")
@pytest.mark.parametrize(
    "path",
    [
        "/api/auth/login",
        "/api/auth/login/",
        "/api/auth/login/facebook",
        "/api/auth/login/facebook/",
        "/api/auth/register",
        "/api/auth/register/",
        "/api/auth/logout",
        "/api/auth/logout/",
        "/api/auth/me",
        "/api/auth/me/",
        "/api/csrf-token",
        "/api/communications/whatsapp/",
        "/api/users/",
        "/api/users/login/",
        "/api/users/register",
        "/api/chat/rooms/1/messages/",
    ],
)
def test_call_counts_for_the_client_that_it_belongs_to(path: str) -> None:
    route = Table(PolicyFile(None).read().routes).find(path.encode())
    assert route is not None
    common, *own = route.limits
    assert common == "ip"
    assert own
    assert all(limit.startswith(LIMITS[family_of(path)]) for limit in own)


@pytest.mark.promise("K8")
@pytest.mark.parametrize("path", ["/api/auth/token/refresh/", "/api/auth/refresh", "/api/users/token/refresh/"])
async def test_refreshes_use_up_no_other_limit(open_door: Start, caller: str, path: str) -> None:
    door = await open_door(limit_hub="1/h by caller", limit_sender="1/h by caller", limit_rooms="1/h by caller")
    assert await statuses(door, 3, path, "POST", caller=caller) == [200, 200, 200]


async def test_limit_of_callers_counts_the_account_wherever_it_calls_from(
    open_door: Start, issue_token: IssueToken, caller: str
) -> None:
    door = await open_door(limit_hub="2/h by caller")
    mine = {"Authorization": f"Bearer {issue_token()}"}
    me = CALLS[Family.HUB]
    assert await statuses(door, 2, me, **mine) == [200, 200]
    assert await statuses(door, 1, me, caller=caller, **mine) == [429]
    assert await statuses(door, 3, me, caller=caller) == [200, 200, 429]


@pytest.mark.promise("K21")
async def test_hub_client_is_refused_after_a_hundred_calls_and_told_of_the_window(
    open_door: Start, issue_token: IssueToken
) -> None:
    # As fast as the test is, some calls come back in the meantime; an hour keeps them away.
    door = await open_door(limit_hub="100/h by caller")
    mine = {"Authorization": f"Bearer {issue_token()}"}
    found = await asyncio.gather(*(door.ask(CALLS[Family.HUB], **mine) for _ in range(101)))
    assert sorted(answer.status for answer in found) == [200] * 100 + [429]
    refused = next(answer for answer in found if answer.status == 429)
    error = json.loads(refused.body)["error"]
    assert (error["code"], error["retryable"]) == ("RATE_LIMIT_EXCEEDED", True)
    assert error["details"] == {"limit": 100, "windowMs": 3_600_000, "retryAfter": int(refused["retry-after"])}


@pytest.mark.promise("K21")
def test_limits_of_existing_clients_are_those_they_know() -> None:
    limits = PolicyFile(None).read().limits
    for name, text in (("hub", "100/min by caller"), ("hub_sign_in", "20/min"), ("sender", "1000/24h by caller")):
        assert limits[name] == Limit.parse(name, text)


@pytest.mark.promise("K8")
@pytest.mark.parametrize(
    ("path", "code"),
    [("/api/communications/email/", "throttled"), ("/api/chat/rooms/", "throttled"), (ANSWER, "rate_limited")],
)
async def test_each_client_is_refused_in_its_own_words(open_door: Start, caller: str, path: str, code: str) -> None:
    door = await open_door(limit_ip="1/h")
    await door.ask(path, caller=caller)
    answer = await door.ask(path, caller=caller)
    assert (answer.status, json.loads(answer.body)["code"]) == (429, code)
    assert f"in {answer['retry-after']} seconds" in json.loads(answer.body)["detail"]
