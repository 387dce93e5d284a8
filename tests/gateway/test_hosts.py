"""By which name the gateway is called, and that it is not called in clear where TLS ends in front."""

import pytest

from gateway.domain.hosts import Hosts
from tests.gateway.conftest import Door, Start
from tests.gateway.test_sockets import upgrade

OURS = ["api.example.com", "*.apps.example.com", "127.0.0.1", "[::1]"]
HSTS = "max-age=31536000; includeSubDomains"
PATH = "/api/v1/messages"


async def ask(door: Door, host: str, path: str = PATH, *lines: str, method: str = "GET") -> tuple[int, str | None]:
    """The status, and where it points to."""
    answer = await door.raw("\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode())
    return answer.status, answer.get("location")


@pytest.mark.promise("G42")
@pytest.mark.parametrize(
    "host",
    [
        "api.example.com",
        "API.Example.COM",
        "api.example.com:8443",
        "api.example.com.",
        "api.example.com.:443",
        "one.apps.example.com",
        "one.two.apps.example.com",
        "127.0.0.1:8000",
        "[::1]:8000",
        "[::1]",
    ],
)
async def test_own_names_are_served_in_every_spelling(open_door: Start, host: str) -> None:
    door = await open_door(hosts=OURS)
    assert await ask(door, host) == (200, None)


@pytest.mark.promise("G42")
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "example.com",
        "apps.example.com",
        ".apps.example.com",
        "evilapps.example.com",
        "api.example.com.evil.example",
        "xapi.example.com",
        "api.example.com..",
        "127.0.0.2",
        "[::2]",
        "localhost",
    ],
)
async def test_any_other_host_is_misdirected_and_nothing_travels_on(open_door: Start, host: str) -> None:
    door = await open_door(hosts=OURS)
    client = await door.connect()
    await client.send(f"GET {PATH} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    answer = await client.answer()
    assert (answer.status, answer["connection"]) == (421, "close")
    assert b'"code": "misdirected"' in answer.body
    assert host.encode() not in answer.body
    assert await client.closed()
    assert door.service.seen == []


@pytest.mark.promise("G42")
async def test_host_is_looked_at_before_country_route_and_limits(open_door: Start, caller: str) -> None:
    door = await open_door(hosts=OURS, limit_ip="1/h")
    for path in (PATH, "/nowhere", "/api/v1/auth/token", PATH):
        assert (await ask(door, "evil.example", path, f"X-Forwarded-For: {caller}"))[0] == 421
    assert (await ask(door, "api.example.com", PATH, f"X-Forwarded-For: {caller}"))[0] == 200


@pytest.mark.promise("G42")
async def test_host_is_judged_anew_for_each_request_of_a_connection(open_door: Start) -> None:
    door = await open_door(hosts=OURS)
    client = await door.connect()
    for host, status in (("api.example.com", 200), ("api.example.com", 200), ("evil.example", 421)):
        await client.send(f"GET {PATH} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert (await client.answer()).status == status


@pytest.mark.promise("G42")
@pytest.mark.parametrize("path", ["/health/live", "/health", "/api/v1/health"])
async def test_health_may_be_asked_by_address(open_door: Start, path: str) -> None:
    door = await open_door(hosts=["api.example.com"], https="on")
    assert (await ask(door, "10.1.2.3:8000", path))[0] in {200, 503}
    assert (await ask(door, "10.1.2.3:8000", path, "X-Forwarded-Proto: http"))[0] in {200, 503}
    assert (await ask(door, "evil.example", f"{path}x"))[0] in {404, 421}


@pytest.mark.promise("G42")
async def test_client_that_names_no_host_gets_none_of_the_listed(open_door: Start) -> None:
    door = await open_door(hosts=OURS)
    assert (await door.raw(b"GET /api/v1/messages HTTP/1.0\r\n\r\n")).status == 421


@pytest.mark.promise("G42")
async def test_without_a_list_every_name_is_served(door: Door) -> None:
    assert await ask(door, "whatever.example") == (200, None)


@pytest.mark.parametrize(
    "text", ["https://api.example.com", "api.example.com:443", "*", "*.", "a.*.example.com", "api example", "ä.example"]
)
def test_name_that_cannot_be_meant_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(ValueError, match="no name of a host"):
        Hosts([text])


@pytest.mark.promise("G41")
@pytest.mark.parametrize(
    ("host", "location"),
    [
        ("api.example.com", "https://api.example.com"),
        ("api.example.com:8080", "https://api.example.com"),
        ("[::1]:80", "https://[::1]"),
    ],
)
async def test_what_came_in_clear_is_sent_to_https(open_door: Start, host: str, location: str) -> None:
    door = await open_door(hosts=OURS, https="on")
    clear = "X-Forwarded-Proto: http"
    assert await ask(door, host, "/api/v1/messages?a=%0d%0a&b=1", clear) == (
        308,
        f"{location}/api/v1/messages?a=%0d%0a&b=1",
    )
    answer = await door.ask(PATH, "POST", body=b"{}", X_Forwarded_Proto="http")
    assert (answer.status, answer["location"]) == (308, f"https://api.example.com{PATH}")
    assert b'"code": "moved_to_https"' in answer.body
    assert answer.get("strict-transport-security") is None
    assert door.service.seen == []


@pytest.mark.promise("G41")
async def test_nobody_but_a_trusted_proxy_can_say_that_it_was_https(open_door: Start) -> None:
    door = await open_door(https="on", trusted_proxies=["10.0.0.0/8"])
    for lines in ((), ("X-Forwarded-Proto: https",), ("X-Forwarded-Proto: wss",)):
        assert (await ask(door, "api.example.com", PATH, *lines))[0] == 308


@pytest.mark.promise("G41")
@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["X-Forwarded-Proto: https"], 200),
        (["X-Forwarded-Proto: HTTPS"], 200),
        (["X-Forwarded-Proto: wss"], 200),
        ([], 200),
        (["X-Forwarded-Proto: http"], 308),
        (["X-Forwarded-Proto: https, http"], 308),
        (["X-Forwarded-Proto: https", "X-Forwarded-Proto: http"], 308),
        (["X-Forwarded-Proto:"], 308),
    ],
)
async def test_trusted_proxy_says_how_it_was_asked(open_door: Start, lines: list[str], status: int) -> None:
    door = await open_door(https="on")
    assert (await ask(door, "api.example.com", PATH, *lines))[0] == status


@pytest.mark.promise("G41")
async def test_browser_that_came_over_https_is_told_to_stay_there(open_door: Start) -> None:
    door = await open_door(https="on")
    for path in (PATH, "/nowhere", "/health/live"):
        assert (await door.ask(path, X_Forwarded_Proto="https")).all("strict-transport-security") == [HSTS]
        assert (await door.ask(path)).get("strict-transport-security") is None


@pytest.mark.promise("G41")
async def test_nothing_is_said_of_https_where_it_is_not_declared(door: Door) -> None:
    answer = await door.ask(PATH, X_Forwarded_Proto="https")
    assert (answer.status, answer.get("strict-transport-security")) == (200, None)
    assert (await door.ask(PATH, X_Forwarded_Proto="http")).status == 200


@pytest.mark.promise("G41")
async def test_wrong_host_is_never_redirected(open_door: Start) -> None:
    door = await open_door(hosts=OURS, https="on")
    assert await ask(door, "evil.example", PATH, "X-Forwarded-Proto: http") == (421, None)


@pytest.mark.promise("G41")
async def test_socket_in_clear_is_refused_and_not_redirected(open_door: Start) -> None:
    door = await open_door(https="on")
    client = await door.connect()
    await client.send(upgrade(fields="X-Forwarded-Proto: http\r\n"))
    answer = await client.answer()
    assert (answer.status, answer.get("location")) == (403, None)
    assert b'"code": "https_required"' in answer.body
    assert await client.closed()
    assert (await door.raw(b"GET /api/v1/messages HTTP/1.0\r\nX-Forwarded-Proto: http\r\n\r\n")).status == 403


@pytest.mark.promise("G41")
async def test_split_location_is_refused_before_it_is_one(open_door: Start) -> None:
    door = await open_door(https="on")
    for line in (
        b"GET /api/v1/messages?a=\xc4\x8d\xc4\x8aSet-Cookie:x HTTP/1.1\r\nHost: a",
        b"GET /api/v1/messages/%0d%0aSet-Cookie:x HTTP/1.1\r\nHost: a",
        b"GET /api/v1/messages HTTP/1.1\r\nHost: a/b\\c",
    ):
        answer = await door.raw(line + b"\r\nX-Forwarded-Proto: http\r\n\r\n")
        assert (answer.status, answer.get("location"), answer.get("set-cookie")) == (400, None, None)
