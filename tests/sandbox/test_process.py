"""The sandbox as a process: starts on its options, says what is wrong, ends when told."""

import asyncio
import json
import os
import signal
import socket
import ssl
import sys
from pathlib import Path

import aiosmtplib
import httpx2

ROOT = Path(__file__).parents[2]


async def run(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.sandbox", *arguments),
        cwd=ROOT,
        env=os.environ | {"SANDBOX_SMTP_PASSWORD": "from the environment", "PARLEY_LOG_FORMAT": "json"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_the_process_serves_until_sigterm(tmp_path, letter):
    certificate = tmp_path / "certificate.pem"
    options = (
        "--http-port",
        "0",
        "--smtp-port",
        "0",
        "--smtp-user",
        "u",
        "--certificate-file",
        str(certificate),
    )
    process = await run(*options)
    try:
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
        assert (ready["event"], ready["service"]) == ("sandbox_ready", "sandbox")
        context = ssl.create_default_context(cafile=certificate)
        await aiosmtplib.send(
            letter("process@example.test"),
            hostname="localhost",
            port=ready["smtp_port"],
            username="u",
            password="from the environment",
            start_tls=True,
            tls_context=context,
        )
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{ready['http_port']}", trust_env=False) as web:
            assert (await web.get("/health/live")).json() == {"status": "ok"}
            assert (await web.get("/smtp/messages")).json()["total"] == 1
            # A kept-alive connection must not hold the process back.
            process.send_signal(signal.SIGTERM)
            output, errors = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, errors) == (0, b"")
    assert b"from the environment" not in output


async def test_a_taken_port_is_a_clear_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = await run("--smtp-user", "u", "--smtp-port", port, "--http-port", "0")
        output, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert errors.decode().strip().startswith("The sandbox cannot start")
    assert port in errors.decode()
    assert output == b""


async def test_missing_credentials_are_a_clear_error():
    process = await run("--http-port", "0")
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert b"--smtp-user" in errors
