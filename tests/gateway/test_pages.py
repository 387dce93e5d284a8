"""The gateway's own pages: the description of the whole API, and the health of the whole."""

import json
import re

import pytest

from gateway.domain.documents import merge
from tests.gateway.conftest import Door, Start
from tests.gateway.wire import Service, answers


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


async def service_with(body: bytes, status: str = "200 OK") -> Service:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return await Service(behave=answers(head.encode() + body)).start()


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


@pytest.mark.promise("G28")
@pytest.mark.parametrize("path", ["/api/v1/health", "/api/v1/health/"])
async def test_whole_is_healthy_when_every_service_is(open_door: Start, path: str) -> None:
    door = await open_door()
    answer = await door.ask(path)
    body = json.loads(answer.body)
    assert answer.status == 200
    assert body["status"] == "healthy"
    assert body["services"] == {"auth": "healthy", "chat": "healthy", "notify": "healthy"}
    assert body["timestamp"].endswith("Z")
    assert {seen.target for seen in door.service.seen} == {"/health/ready"}


@pytest.mark.promise("G28")
async def test_whole_is_unhealthy_when_one_service_is_not(open_door: Start) -> None:
    unready = await service_with(b"{}", "503 Service Unavailable")
    door = await open_door(chat_urls=[unready.url], notify_urls=["http://127.0.0.1:9"])
    answer = await door.ask("/api/v1/health")
    body = json.loads(answer.body)
    assert (answer.status, body["status"]) == (503, "unhealthy")
    assert body["services"] == {"auth": "healthy", "chat": "unhealthy", "notify": "unhealthy"}
    await unready.stop()


def ready(database: str) -> bytes:
    return json.dumps({"status": "ready", "checks": {"database": database}}).encode()


@pytest.mark.promise("K22")
async def test_health_for_the_hub(open_door: Start) -> None:
    answer = await (await open_door()).ask("/health")
    services = {"database": "connected", "redis": "connected"}
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok", "services": services})


@pytest.mark.promise("K22")
async def test_health_for_the_hub_without_a_database(open_door: Start) -> None:
    unready = await service_with(ready("down"), "503 Service Unavailable")
    answer = await (await open_door(chat_urls=[unready.url])).ask("/health")
    services = {"database": "disconnected", "redis": "connected"}
    body = {"status": "error", "error": "Service unavailable", "details": "database", "services": services}
    assert (answer.status, json.loads(answer.body)) == (503, body)
    await unready.stop()


@pytest.mark.promise("K22")
async def test_health_for_the_hub_names_a_service_that_is_away(open_door: Start) -> None:
    answer = await (await open_door(chat_urls=["http://127.0.0.1:9"])).ask("/health")
    assert (answer.status, json.loads(answer.body)["details"]) == (503, "chat")


@pytest.mark.promise("K51")
async def test_health_for_rooms(open_door: Start) -> None:
    door = await open_door()
    answer = await door.ask("/health/")
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "healthy", "database": True, "redis": True})
    answer = await door.ask("/health/", Accept="text/plain")
    assert (answer.status, answer.body) == (200, b"OK")


@pytest.mark.promise("K51")
async def test_health_for_rooms_without_a_database(open_door: Start) -> None:
    unready = await service_with(ready("down"), "503 Service Unavailable")
    answer = await (await open_door(auth_urls=[unready.url])).ask("/health/", Accept="text/plain")
    body = {"status": "unhealthy", "database": False, "redis": True}
    assert (answer.status, json.loads(answer.body)) == (503, body)
    await unready.stop()


async def test_flood_of_health_checks_does_not_reach_the_services(open_door: Start) -> None:
    door = await open_door()
    for _ in range(10):
        await door.ask("/health")
    assert len(door.service.seen) <= 6


@pytest.mark.promise("G28")
async def test_gateway_is_ready_with_redis_and_a_service(open_door: Start) -> None:
    door = await open_door(notify_urls=["http://127.0.0.1:9"])
    assert (await door.ask("/health/ready")).status == 200
    alone = await open_door(**{name: ["http://127.0.0.1:9"] for name in ("auth_urls", "chat_urls", "notify_urls")})
    answer = await alone.ask("/health/ready")
    assert answer.status == 503
    assert json.loads(answer.body)["checks"] == {"redis": "up", "upstreams": "down"}
    assert (await alone.ask("/health/live")).status == 200


@pytest.mark.promise("G18")
async def test_gateway_without_redis_says_so(open_door: Start) -> None:
    door = await open_door(redis_url="redis://127.0.0.1:9/0", wait=False)
    assert json.loads((await door.ask("/health/ready")).body)["checks"]["redis"] == "down"
    assert (await door.ask("/api/v1/messages")).status == 200
