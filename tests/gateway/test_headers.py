"""Whom the services believe is decided here: nothing that a client sends can speak in the gateway's name."""

import asyncio
from uuid import UUID

import pytest

from tests.gateway.conftest import Door, Start
from tests.gateway.wire import Answer, answers

FORGED = [
    "X-User-Id",
    "x-user-roles",
    "X-Auth-Roles",
    "X-Internal-Token",
    "X-Service-Authorization",
    "X-Forwarded-User",
    "X-Forwarded-Prefix",
    "Forwarded",
    "X-Real-IP",
    "X-Country",
    "X-Client-Country",
    "True-Client-IP",
    "CF-Connecting-IP",
    "CF-IPCountry",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-HTTP-Method-Override",
    "x_user_id",
    "X_Forwarded_For",
    "X-User_Id",
    "X_Request_Id",
    "Proxy",
]


@pytest.mark.promise("G4", "W4", "W17")
@pytest.mark.parametrize("name", FORGED)
async def test_forged_header_does_not_arrive(door: Door, name: str) -> None:
    await door.raw(f"GET /api/v1/messages HTTP/1.1\r\nHost: a\r\n{name}: evil\r\n\r\n".encode())
    assert b"evil" not in door.service.last.raw


@pytest.mark.promise("G4")
async def test_ordinary_headers_arrive(door: Door) -> None:
    await door.ask(
        "/api/v1/messages",
        Accept_Language="sw",
        Cookie="a=b",
        Sec_Fetch_Site="same-origin",
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        X_Hub_Signature_256="sha256=ab",
    )
    seen = door.service.last
    assert seen.get("accept-language") == "sw"
    assert seen.get("cookie") == "a=b"
    assert seen.get("sec-fetch-site") == "same-origin"
    assert seen.get("traceparent") == "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert seen.get("x-hub-signature-256") == "sha256=ab"
    assert seen.get("host") == "api.example.com"


@pytest.mark.promise("G5", "W4")
async def test_connection_header_cannot_remove_ours(door: Door) -> None:
    await door.ask(
        "/api/v1/messages",
        Connection="close, X-Forwarded-For, X-Request-Id, Host, X-Mine",
        X_Mine="1",
        Keep_Alive="timeout=5",
        TE="trailers",
    )
    seen = door.service.last
    assert seen.get("x-forwarded-for") == "127.0.0.1"
    assert seen.get("x-request-id")
    assert seen.get("host") == "api.example.com"
    assert not seen.names() & {"connection", "x-mine", "keep-alive", "te"}


async def test_service_learns_who_asked_and_how(door: Door) -> None:
    await door.raw(
        b"GET /api/v1/messages HTTP/1.1\r\nHost: api.example.com:8443\r\n"
        b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\r\n"
    )
    seen = door.service.last
    assert seen.get("x-forwarded-for") == "203.0.113.9"
    assert seen.get("x-forwarded-proto") == "https"
    assert seen.get("x-forwarded-host") == "api.example.com:8443"


@pytest.mark.promise("G1")
async def test_what_is_remembered_of_a_connection_is_told_of_nobody_else(door: Door) -> None:
    client = await door.connect()
    for caller in ("198.18.9.1", "198.18.9.1", "198.18.9.2"):
        await client.send(
            f"GET /api/v1/messages/{caller} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {caller}\r\n\r\n".encode()
        )
        assert (await client.answer()).status == 200
    assert [(seen.target[-10:], seen.get("x-forwarded-for")) for seen in door.service.seen] == [
        ("198.18.9.1", "198.18.9.1"),
        ("198.18.9.1", "198.18.9.1"),
        ("198.18.9.2", "198.18.9.2"),
    ]
    assert len({seen.get("x-request-id") for seen in door.service.seen}) == 3


@pytest.mark.promise("G27")
async def test_request_id_of_a_stranger_is_replaced(open_door: Start) -> None:
    door = await open_door(trusted_proxies=[])
    answer = await door.ask("/api/v1/messages", X_Request_Id="chosen-by-client", X_Forwarded_Proto="https")
    made = answer["x-request-id"]
    assert UUID(made).version == 7
    assert door.service.last.get("x-request-id") == made
    assert door.service.last.get("x-forwarded-proto") == "http"


@pytest.mark.promise("G27")
@pytest.mark.parametrize(
    ("given", "kept"), [("proxy-made-0001", True), ("a b", False), ("x" * 65, False), ("ä" * 9, False)]
)
async def test_request_id_of_a_trusted_proxy_is_kept_if_it_is_one(door: Door, given: str, kept: bool) -> None:
    answer = await door.ask("/api/v1/messages", X_Request_Id=given)
    assert (answer["x-request-id"] == given) is kept
    assert answer.all("x-request-id") == [door.service.last.get("x-request-id")]


async def every_kind_of_answer(door: Door) -> list[Answer]:
    good = await door.ask("/api/v1/messages")
    missing = await door.ask("/nowhere")
    unsafe = await door.ask("/api/v1//messages")
    broken = await door.raw(b"GET / HTTP/1.1\r\n\r\n")
    malformed = await door.raw(b"\x00")
    long = await door.ask("/api/v1/messages?" + "a" * 9000)
    large = await door.ask("/api/v1/messages", Content_Length=str(1 << 30))
    page = await door.ask("/health/live")
    preflight = await door.ask("/api/v1/x", "OPTIONS", Origin="https://a", Access_Control_Request_Method="GET")
    door.service.behave = answers(b"nonsense\r\n\r\n")
    bad = await door.ask("/api/v1/messages")
    return [good, missing, unsafe, broken, malformed, long, large, page, preflight, bad]


@pytest.mark.promise("G26", "K34")
async def test_every_answer_has_the_security_headers_and_an_id(door: Door) -> None:
    found = await every_kind_of_answer(door)
    assert [answer.status for answer in found] == [200, 404, 400, 400, 400, 414, 413, 200, 404, 502]
    for answer in found:
        assert answer.all("x-content-type-options") == ["nosniff"]
        assert answer.all("x-frame-options") == ["DENY"]
        assert answer.all("referrer-policy") == ["strict-origin-when-cross-origin"]
        assert len(answer.all("content-security-policy")) == 1
        assert len(answer.all("x-request-id")) == 1
        assert answer.get("server") is None


@pytest.mark.promise("G26")
async def test_security_headers_of_a_service_are_replaced(door: Door) -> None:
    door.service.behave = answers(
        b"HTTP/1.1 200 OK\r\nServer: uvicorn\r\nX-Powered-By: x\r\nX-Frame-Options: ALLOWALL\r\n"
        b"Access-Control-Allow-Origin: *\r\nContent-Security-Policy: none\r\nX-Request-Id: other\r\n"
        b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nX-Kept: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
        b"Vary: Accept\r\nContent-Length: 2\r\n\r\n{}"
    )
    answer = await door.ask("/api/v1/messages")
    assert answer.all("x-frame-options") == ["DENY"]
    assert answer.get("access-control-allow-origin") is None
    assert answer.get("x-hop") is None
    assert answer.get("server") is None
    assert answer.get("x-powered-by") is None
    assert answer.all("x-request-id") != ["other"]
    assert answer.all("set-cookie") == ["a=1", "b=2"]
    assert (answer["x-kept"], answer["vary"]) == ("1", "Accept")


@pytest.mark.parametrize(
    ("path", "media", "part"),
    [
        ("/api/v1/nowhere", "application/problem+json", b'"code": "not_found"'),
        ("/api/communications/%2e%2e", "application/json", b'"success": false'),
        ("/api/auth/x/%00/", "application/json", b'"success": false'),
        ("/api/chat/%00", "application/json", b'"detail"'),
        ("/api/nowhere", "application/json", b'"NOT_FOUND"'),
    ],
)
async def test_refusal_has_the_shape_of_the_family(door: Door, path: str, media: str, part: bytes) -> None:
    answer = await door.ask(path)
    assert answer["content-type"] == media
    assert part in answer.body


async def test_refusal_of_head_has_no_body(door: Door) -> None:
    client = await door.connect()
    await client.send(b"HEAD /nowhere HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
    for _ in range(2):
        assert (await client.answer(head_only=True)).status == 404


@pytest.mark.promise("G38")
async def test_access_log_names_the_path_and_no_secret(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[bytes] = []
    # Those of other tests.
    door.core.access.flush()
    monkeypatch.setattr(door.core.access, "_write", lines.append)
    await door.ask("/ws/messages/?token=secret1", Authorization="Bearer secret2", Cookie="session=secret3")
    await door.ask("/u/secret4")
    await door.raw(b"GET /api/v1/messages/%0d%0a HTTP/1.1\r\nHost: a\r\nX-A: secret5\r\n\r\n")
    async with asyncio.timeout(30):
        while b"".join(lines).count(b"\n") < 3:
            await asyncio.sleep(0.05)
    text = b"".join(lines)
    assert b"secret" not in text
    assert b'"path":"/ws/messages/","status":200' in text
    assert b'"path":"/u"' in text
    assert b'"client":"127.0.0.1"' in text
