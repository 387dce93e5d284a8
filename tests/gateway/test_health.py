"""The health of the whole, in the words of each who asks, and whether this process is ready."""

import asyncio
import json
from datetime import datetime
from pathlib import Path
from time import time

import pytest

from deploy.local.servers import ValkeyServer
from tests.freezing import frozen
from tests.gateway.conftest import Door, Start
from tests.gateway.test_country import write
from tests.gateway.wire import Service, answers


async def service_with(body: bytes, status: str = "200 OK") -> Service:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return await Service(behave=answers(head.encode() + body)).start()


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


def ready(database: str, ms: float = 0.4) -> bytes:
    return json.dumps({"status": "ready", "checks": {"database": database}, "ms": {"database": ms}}).encode()


@pytest.mark.promise("G28", "K34")
@pytest.mark.parametrize("path", ["/api/v1/health/detailed", "/api/v1/health/detailed/"])
async def test_details_of_a_healthy_whole(open_door: Start, path: str) -> None:
    quick, slow = await service_with(ready("up", 0.4)), await service_with(ready("up", 7))
    door = await open_door(auth_urls=[quick.url], chat_urls=[slow.url], notify_urls=[quick.url])
    answer = await door.ask(path)
    body = json.loads(answer.body)
    assert answer.status == 200
    assert body.keys() == {"status", "timestamp", "database", "redis", "services"}
    assert body["status"] == "healthy"
    assert datetime.fromisoformat(body["timestamp"]).tzinfo is not None
    assert body["database"] == {"status": "healthy", "latency_ms": 7.0}
    assert body["redis"]["status"] == "healthy"
    assert body["redis"]["latency_ms"] >= 0
    assert body["services"] == {f"{name}_service": {"status": "healthy"} for name in ("auth", "chat", "notify")}
    for service in (quick, slow):
        await service.stop()


@pytest.mark.promise("G28", "K34")
async def test_details_of_what_is_broken(open_door: Start) -> None:
    """The same keys, and no word of where anything is or why it does not answer."""
    unready = await service_with(ready("down"), "503 Service Unavailable")
    away = "http://127.0.0.1:9"
    door = await open_door(
        auth_urls=[unready.url],
        chat_urls=[away],
        notify_urls=[unready.url],
        redis_url="redis://127.0.0.1:9/0",
        wait=False,
    )
    answer = await door.ask("/api/v1/health/detailed/")
    body = json.loads(answer.body)
    assert answer.status == 503
    assert body.pop("timestamp")
    unhealthy = {"status": "unhealthy"}
    assert body == {
        **unhealthy,
        "database": {**unhealthy, "latency_ms": None},
        "redis": {**unhealthy, "latency_ms": None},
        "services": {f"{name}_service": unhealthy for name in ("auth", "chat", "notify")},
    }
    await unready.stop()


@pytest.mark.promise("G28")
async def test_time_of_a_redis_that_hangs_is_not_known(open_door: Start) -> None:
    async with ValkeyServer() as server:
        door = await open_door(redis_url=server.url)
        with frozen(server):
            body = json.loads((await door.ask("/api/v1/health/detailed")).body)
        assert body["redis"]["latency_ms"] is None


@pytest.mark.parametrize("said", [b"", b"[]", b'{"checks": 1, "ms": []}', b'{"ms": {"database": "quick"}}'])
async def test_service_that_says_nothing_of_itself_is_healthy_when_it_answers(open_door: Start, said: bytes) -> None:
    service = await service_with(said)
    door = await open_door(auth_urls=[service.url], chat_urls=[service.url], notify_urls=[service.url])
    answer = await door.ask("/api/v1/health/detailed")
    assert (answer.status, json.loads(answer.body)["database"]["latency_ms"]) == (200, None)
    await service.stop()


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


@pytest.mark.promise("G28")
@pytest.mark.parametrize("path", ["/health", "/health/", "/api/v1/health/", "/api/v1/health/detailed/"])
async def test_health_is_told_to_everybody_and_without_limit(
    open_door: Start, country_database: Path, caller: str, path: str
) -> None:
    door = await open_door(
        country_database=country_database, policy={"countries": {"default": {"allow": ["SE"]}}}, limit_ip="1/min"
    )
    for _ in range(3):
        answer = await door.ask(path, caller=caller)
        assert (answer.status, answer.get("ratelimit")) == (200, None)
    assert (await door.ask("/api/v1/docs", caller=caller)).status == 403


async def test_flood_of_health_checks_does_not_reach_the_services(open_door: Start) -> None:
    door = await open_door()
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(10):
        await door.ask("/health")
    # Each of the three is asked once a second.
    assert len(door.service.seen) <= 3 * (2 + loop.time() - began)


@pytest.mark.promise("G28")
async def test_gateway_is_ready_with_redis_and_a_service(open_door: Start) -> None:
    door = await open_door(notify_urls=["http://127.0.0.1:9"])
    assert (await door.ask("/health/ready")).status == 200
    alone = await open_door(**{name: ["http://127.0.0.1:9"] for name in ("auth_urls", "chat_urls", "notify_urls")})
    answer = await alone.ask("/health/ready")
    assert answer.status == 503
    assert json.loads(answer.body)["checks"] == {"redis": "up", "upstreams": "down"}
    assert (await alone.ask("/health/live")).status == 200


@pytest.mark.promise("G28")
@pytest.mark.parametrize(("days", "said"), [(34, "up"), (36, "warn")])
async def test_old_country_database_is_told_of_and_goes_on(
    open_door: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, said: str
) -> None:
    with monkeypatch.context() as patch:
        made = time() - days * 86_400
        patch.setattr("mmdb_writer.time.time", lambda: made)
        file = write(tmp_path / "country.mmdb", {"192.0.2.0/24": "KE"})
    door = await open_door(country_database=file)
    answer = await door.ask("/health/ready")
    assert (answer.status, json.loads(answer.body)["checks"]["country_database"]) == (200, said)


@pytest.mark.promise("G28")
async def test_country_database_that_is_not_there_is_told_of(open_door: Start, tmp_path: Path) -> None:
    door = await open_door(country_database=tmp_path / "none.mmdb")
    answer = await door.ask("/health/ready")
    assert (answer.status, json.loads(answer.body)["checks"]["country_database"]) == (200, "warn")


@pytest.mark.promise("G28")
@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/api/v1/../../metrics", "/internal/usage"])
async def test_metrics_and_internal_calls_are_never_proxied(door: Door, path: str) -> None:
    assert (await door.ask(path)).status in (400, 404)
    assert door.service.seen == []


@pytest.mark.promise("G18")
async def test_gateway_without_redis_says_so(open_door: Start) -> None:
    door = await open_door(redis_url="redis://127.0.0.1:9/0", wait=False)
    assert json.loads((await door.ask("/health/ready")).body)["checks"]["redis"] == "down"
    assert (await door.ask("/api/v1/messages")).status == 200
