"""The gateway's own pages and answers: the description of the whole API, and what every answer carries."""

import asyncio
import json
import re

import pytest
from prometheus_client import REGISTRY

from gateway.domain.documents import merge
from tests.gateway.conftest import Door, Start
from tests.gateway.test_health import service_with
from tests.gateway.wire import Answer, answers


def document(service: str, **schemas: object) -> bytes:
    return json.dumps(
        {
            "openapi": "3.1.0",
            "info": {"title": service, "version": "1", "description": f"About {service}."},
            "paths": {
                f"/api/v1/{service}/things": {
                    "get": {
                        "operationId": "list_things",
                        "responses": {
                            "200": {
                                "description": "ok",
                                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}},
                            }
                        },
                        "security": [{"access_token": []}],
                    }
                }
            },
            "components": {
                "schemas": {"Problem": {"type": "object"}, **schemas},
                "securitySchemes": {"access_token": {"type": "http", "scheme": "bearer"}},
            },
        }
    ).encode()


async def test_documents_of_the_services_become_one(open_door: Start) -> None:
    auth = await service_with(document("auth", Thing={"type": "string"}))
    chat = await service_with(document("chat", Thing={"type": "integer"}))
    door = await open_door(auth_urls=[auth.url], chat_urls=[chat.url], notify_urls=["http://127.0.0.1:9"])
    answer = await door.ask("/api/v1/openapi.json")
    merged = json.loads(answer.body)
    assert sorted(merged["paths"]) == ["/api/v1/auth/things", "/api/v1/chat/things"]
    assert merged["x-unavailable"] == ["notify"]
    assert set(merged["components"]["schemas"]) == {"Problem", "Thing", "ChatThing"}
    operation = merged["paths"]["/api/v1/chat/things"]["get"]
    assert "#/components/schemas/ChatThing" in json.dumps(operation)
    assert (operation["operationId"], operation["tags"]) == ("chat_list_things", ["chat"])
    assert auth.seen[0].target == "/api/v1/auth/openapi.json"
    await door.ask("/api/v1/openapi.json/")
    assert len(auth.seen) == 1
    await auth.stop()
    await chat.stop()


def test_component_that_refers_to_a_renamed_one_is_renamed_too() -> None:
    page = {"properties": {"results": {"$ref": "#/components/schemas/Thing"}}}
    documents = {
        name: json.loads(document(name, Thing={"type": kind}, Page=page))
        for name, kind in (("auth", "string"), ("chat", "integer"))
    }
    merged = merge(documents, "1")
    schemas = merged["components"]["schemas"]
    assert set(schemas) == {"Problem", "Thing", "Page", "ChatThing", "ChatPage"}
    assert schemas["ChatPage"]["properties"]["results"]["$ref"] == "#/components/schemas/ChatThing"


def test_security_schemes_that_differ_keep_their_users() -> None:
    auth, chat = (json.loads(document(name, Thing={})) for name in ("auth", "chat"))
    chat["components"]["securitySchemes"]["access_token"]["bearerFormat"] = "JWT"
    merged = merge({"auth": auth, "chat": chat}, "1")
    assert merged["paths"]["/api/v1/chat/things"]["get"]["security"] == [{"Chataccess_token": []}]
    assert set(merged["components"]["securitySchemes"]) == {"access_token", "Chataccess_token"}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"[" * 100_000, b'{"paths": 1}'])
async def test_service_with_a_broken_document_is_unavailable(open_door: Start, body: bytes) -> None:
    broken = await service_with(body)
    door = await open_door(auth_urls=[broken.url], chat_urls=[broken.url], notify_urls=[broken.url])
    merged = json.loads((await door.ask("/api/v1/openapi.json")).body)
    assert (merged["x-unavailable"], merged["paths"]) == (["auth", "chat", "notify"], {})
    await broken.stop()


@pytest.mark.promise("K34", "K44")
@pytest.mark.parametrize("path", ["/api/v1/docs", "/api/v1/docs/", "/swagger", "/swagger/", "/api/v1/redoc"])
async def test_page_loads_nothing_from_elsewhere(door: Door, path: str) -> None:
    answer = await door.ask(path)
    assert (answer.status, answer["content-type"]) == (200, "text/html; charset=utf-8")
    text = answer.body.decode()
    assert "http" not in text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert loaded
    for address in loaded:
        asset = await door.ask(address)
        assert asset.status == 200
        assert asset.body


async def test_asset_that_is_none_is_not_found(door: Door) -> None:
    assert (await door.ask("/api/v1/docs/assets/other.js")).status == 404
    assert (await door.ask("/api/v1/docs/unknown")).status == 404


async def test_pages_take_no_other_method(door: Door) -> None:
    answer = await door.ask("/api/v1/docs", "POST", body=b"{}", Content_Type="application/json")
    assert answer.status == 405


async def test_own_page_keeps_the_connection_and_the_id(door: Door) -> None:
    client = await door.connect()
    for _ in range(3):
        await client.send(b"GET /health/live HTTP/1.1\r\nHost: a\r\nX-Request-Id: made-by-proxy\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, answer["x-request-id"]) == (200, "made-by-proxy")


TIMES = ("x-request-duration", "x-query-time")


def assert_complete(answer: Answer) -> None:
    """What every answer on `/api/v1` carries."""
    for name in TIMES:
        assert re.fullmatch(r"\d+\.\d{3}s", answer[name]), name
        assert len(answer.all(name)) == 1
    assert answer["x-database-queries"].isdecimal()
    assert "default-src 'self'" in answer["content-security-policy"]
    assert (answer["x-xss-protection"], answer["x-content-type-options"]) == ("1; mode=block", "nosniff")
    assert answer["x-frame-options"] == "DENY"
    assert answer["referrer-policy"] == "strict-origin-when-cross-origin"


@pytest.mark.promise("K34")
@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/v1/docs/", 200), ("/api/v1/health/", 200), ("/api/v1/nothing/", 404), ("/api/v1/messages//", 400)],
)
async def test_own_answers_have_times_and_security_headers(door: Door, path: str, status: int) -> None:
    answer = await door.ask(path)
    assert answer.status == status
    assert_complete(answer)


@pytest.mark.promise("K34")
async def test_refusal_says_how_long_it_took(open_door: Start) -> None:
    async def never(*_: object) -> bool:
        await asyncio.Event().wait()
        return False

    door = await open_door(answer_seconds=0.2)
    door.service.behave = never
    answer = await door.ask("/api/v1/messages")
    assert answer.status == 504
    assert_complete(answer)
    assert float(answer["x-request-duration"].rstrip("s")) >= 0.2


@pytest.mark.promise("K34")
async def test_times_of_a_service_are_passed_on(door: Door) -> None:
    measured = b"X-Request-Duration: 0.123s\r\nX-Database-Queries: 5\r\nX-Query-Time: 0.045s\r\n"
    door.service.behave = answers(b"HTTP/1.1 200 OK\r\n%sContent-Length: 0\r\n\r\n" % measured)
    answer = await door.ask("/api/v1/messages/")
    assert_complete(answer)
    assert [answer[name] for name in (*TIMES, "x-database-queries")] == ["0.123s", "0.045s", "5"]


async def test_answers_and_the_time_of_services_are_counted(door: Door) -> None:
    def counted() -> list[float]:
        answered = {"route": "/api/v1/messages", "status": "200"}
        samples = (
            REGISTRY.get_sample_value("parley_gateway_requests_total", answered),
            REGISTRY.get_sample_value("parley_gateway_upstream_seconds_count", {"owner": "chat"}),
            REGISTRY.get_sample_value("parley_gateway_upstream_seconds_bucket", {"owner": "chat", "le": "+Inf"}),
        )
        return [sample or 0.0 for sample in samples]

    before = counted()
    for _ in range(3):
        assert (await door.ask("/api/v1/messages")).status == 200
    assert counted() == [count + 3 for count in before]
