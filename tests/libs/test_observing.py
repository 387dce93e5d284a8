"""What an operator sees: traces where a collector is named, slow statements, metrics on their own port."""

import asyncio
import socket
import sys
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from deploy.local.ports import free_port
from libs import metrics
from libs.db import Database

ROOT = Path(__file__).resolve().parents[2]
TRACED = """
import asyncio, sys
import httpx2
from fastapi import APIRouter
from opentelemetry import trace
from libs import telemetry, web
from libs.settings import CommonSettings

router = APIRouter()

@router.get("/things/{thing}")
async def read_thing(thing: str) -> str: return thing

async def main():
    settings = CommonSettings(otlp_endpoint=sys.argv[1])
    app = web.create_app(name="test", title="", description="", settings=settings, routers=[router], lifespan=None)
    telemetry.instrument("test", settings.otlp_endpoint)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test") as http:
        await http.get("/things/5?token=hunter2", headers={"Authorization": "Bearer hunter2"})
        await http.get(f"/things/{'hunter2-' * 6}")
    await asyncio.to_thread(trace.get_tracer_provider().force_flush)

asyncio.run(main())
"""


@pytest.mark.promise("O5")
async def test_requests_are_traced_to_the_collector() -> None:
    received: list[bytes] = []

    async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(next(line.split(b":")[1] for line in head.lower().split(b"\r\n") if b"content-length" in line))
        received.append(head + await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(collect, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", TRACED, f"http://127.0.0.1:{port}/", cwd=ROOT, stderr=asyncio.subprocess.PIPE
        )
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()[-2000:]
    assert any(b"post /v1/traces" in each.lower() for each in received)
    assert any(b"/things/{thing}" in each and b"parley-test" in each for each in received)
    assert not any(b"hunter2" in each for each in received)


@pytest.mark.promise("O6")
async def test_slow_statements_are_logged_without_their_values(notes_url: str) -> None:
    for slow_ms, expected in ((50, 1), (60_000, 0)):
        db = Database(notes_url, service="test", slow_query_ms=slow_ms)
        with capture_logs() as logs:
            async with db.transaction() as session:
                await session.execute(text("SELECT pg_sleep(0.1), :secret"), {"secret": "hunter2"})
        await db.close()
        slow = [entry for entry in logs if entry["event"] == "slow_query" and "pg_sleep" in entry["sql"]]
        assert len(slow) == expected
        assert "hunter2" not in str(logs)


@pytest.mark.promise("O7")
async def test_metrics_have_a_port_of_their_own() -> None:
    port = free_port()
    script = f"import time; from libs import metrics; metrics.expose('127.0.0.1', {port}); time.sleep(60)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, cwd=ROOT)
    try:
        async with httpx2.AsyncClient() as http, asyncio.timeout(30):
            while True:
                try:
                    answer = await http.get(f"http://127.0.0.1:{port}/metrics")
                    break
                except httpx2.ConnectError:
                    await asyncio.sleep(0.05)
        assert "parley_http_requests_total" in answer.text
    finally:
        process.kill()
        await process.wait()


@pytest.mark.promise("G37", "O7")
async def test_successor_takes_the_port_of_metrics_when_it_is_free() -> None:
    port = free_port()
    taken = socket.create_server(("127.0.0.1", port))
    metrics.expose("127.0.0.1", port, patient=True)
    taken.close()
    async with httpx2.AsyncClient() as http, asyncio.timeout(30):
        while True:
            try:
                answer = await http.get(f"http://127.0.0.1:{port}/metrics")
                break
            except httpx2.TransportError:
                await asyncio.sleep(0.05)
    assert "parley_http_requests_total" in answer.text
