"""Pages of which origins may call, and open sockets."""

import pytest

from tests.gateway.conftest import Start
from tests.gateway.wire import OK, answers

GOOD = "https://good.example.com"
EVIL = [
    "https://evil.example",
    "null",
    "https://good.example.com.evil.example",
    "https://sub.good.example.com",
    "https://good.example.com:8443",
    "https://good.example.com.",
    "http://good.example.com",
    "HTTPS://GOOD.EXAMPLE.COM",
    "https://evilgood.example.com",
    "*",
]


@pytest.mark.promise("G25")
async def test_listed_origin_may_call_with_credentials(open_door: Start) -> None:
    door = await open_door(cors_origins=[GOOD])
    door.service.behave = answers(OK.replace(b"Content-T", b"Access-Control-Allow-Origin: *\r\nContent-T"))
    answer = await door.ask("/api/v1/messages", Origin=GOOD)
    assert answer.all("access-control-allow-origin") == [GOOD]
    assert answer["access-control-allow-credentials"] == "true"
    assert "X-Request-Id" in answer["access-control-expose-headers"]
    assert answer["vary"] == "Origin"


@pytest.mark.promise("G25")
async def test_refusals_can_be_read_by_a_listed_origin(open_door: Start) -> None:
    door = await open_door(cors_origins=[GOOD])
    for path in ("/nowhere", "/api/v1//x"):
        assert (await door.ask(path, Origin=GOOD))["access-control-allow-origin"] == GOOD


@pytest.mark.promise("G25", "W16")
async def test_preflight_is_answered_without_the_service(open_door: Start) -> None:
    door = await open_door(cors_origins=[GOOD])
    answer = await door.ask(
        "/api/v1/messages",
        "OPTIONS",
        Origin=GOOD,
        Access_Control_Request_Method="POST",
        Access_Control_Request_Private_Network="true",
    )
    assert answer.status == 204
    assert answer["access-control-allow-origin"] == GOOD
    assert "POST" in answer["access-control-allow-methods"]
    assert "Authorization" in answer["access-control-allow-headers"]
    assert answer["access-control-max-age"] == "600"
    assert answer.get("access-control-allow-private-network") is None
    assert door.service.seen == []


@pytest.mark.promise("W16")
@pytest.mark.parametrize("origin", EVIL)
async def test_other_origin_gets_no_permission(open_door: Start, origin: str) -> None:
    door = await open_door(cors_origins=[GOOD])
    plain = await door.ask("/api/v1/messages", Origin=origin)
    preflight = await door.ask("/api/v1/messages", "OPTIONS", Origin=origin, Access_Control_Request_Method="POST")
    page = await door.ask("/api/v1/openapi.json", Origin=origin)
    for answer in (plain, preflight, page):
        assert answer.get("access-control-allow-origin") is None
        assert "Origin" in answer["vary"]


async def test_own_pages_can_be_read_by_a_listed_origin_once(open_door: Start) -> None:
    door = await open_door(cors_origins=[GOOD])
    assert (await door.ask("/api/v1/openapi.json", Origin=GOOD)).all("access-control-allow-origin") == [GOOD]


async def test_without_a_list_nobody_is_allowed(open_door: Start) -> None:
    door = await open_door()
    answer = await door.ask("/api/v1/messages", Origin=GOOD)
    assert answer.get("access-control-allow-origin") is None


@pytest.mark.parametrize("origin", ["*", "good.example.com", "https://good.example.com/path", "ftp://x"])
async def test_origin_that_is_none_does_not_start(open_door: Start, origin: str) -> None:
    with pytest.raises(ValueError, match="is no origin"):
        await open_door(cors_origins=[origin])
