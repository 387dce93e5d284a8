"""What Prometheus is told of auth."""

import asyncio
from typing import Any

import httpx2
import pytest
from prometheus_client import REGISTRY

from auth_service.domain.hashing import Hasher
from auth_service.errors import Busy
from libs.jwks import JwksKeys
from tests.auth.api import Api


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"parley_{name}", labels) or 0.0


def sign_ins(reason: str = "") -> float:
    action, result = ("sign_in.refused", "refused") if reason else ("session.started", "ok")
    return value("auth_events_total", action=action, result=result, reason=reason)


@pytest.mark.promise("A60")
async def test_sign_ins_are_counted_by_what_came_of_them(still: Api) -> None:
    made = await still.register()
    ok, wrong, waiting = sign_ins(), sign_ins("invalid_credentials"), sign_ins("rate_limited")
    await still.sign_in(email=made.email)
    for _ in range(6):
        await still.sign_in("not the password", email=made.email)
    assert sign_ins() == ok + 1
    assert sign_ins("invalid_credentials") == wrong + 5
    assert sign_ins("rate_limited") == waiting + 1


@pytest.mark.promise("A60")
async def test_why_staff_did_something_is_no_label(api: Api) -> None:
    admin, made = await api.staff("admin"), await api.register()
    await api.post(f"/api/v1/admin/auth/users/{made.id}/suspend", {"reason": "an unusual reason"}, admin.access)
    assert value("auth_events_total", action="user.suspended", result="ok", reason="") >= 1
    assert "an unusual reason" not in str([s.labels for m in REGISTRY.collect() for s in m.samples])


@pytest.mark.promise("A60")
async def test_the_queue_of_hashing_shows() -> None:
    hasher = Hasher(1, wait_seconds=0.001)
    waited, busy = value("hashing_wait_seconds_count"), value("hashing_busy_total")
    answers = await asyncio.gather(*(hasher.hash("correct horse battery") for _ in range(8)), return_exceptions=True)
    refused = sum(isinstance(answer, Busy) for answer in answers)
    assert refused > 0
    assert value("hashing_busy_total") == busy + refused
    assert value("hashing_wait_seconds_count") == waited + 8
    assert value("hashing_waiting") == 0
    hasher.close()


@pytest.mark.promise("A60")
async def test_the_lag_of_revocations_shows(api: Api) -> None:
    made, heard = await api.register(), value("revocation_heard_timestamp_seconds")
    await api.post("/api/v1/auth/logout", token=made.access)
    async with asyncio.timeout(20):
        while value("revocation_heard_timestamp_seconds") <= heard:
            await asyncio.sleep(0.01)
    assert value("revocation_lag_seconds") >= 0


@pytest.mark.promise("A60")
async def test_the_age_of_public_keys_shows(api: Api) -> None:
    before = value("jwks_fetched_timestamp_seconds")
    keys, reachable = JwksKeys(api.ring, "http://test/.well-known/jwks.json"), httpx2.ASGITransport(app=api.app)
    await keys.refresh(httpx2.AsyncClient(transport=httpx2.MockTransport(_away)))
    assert value("jwks_fetched_timestamp_seconds") == before
    await keys.refresh(httpx2.AsyncClient(transport=reachable))
    assert value("jwks_fetched_timestamp_seconds") > before


def _away(_request: Any) -> httpx2.Response:
    return httpx2.Response(503)
