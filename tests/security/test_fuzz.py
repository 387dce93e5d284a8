"""What each service says of itself in its API description is true for thousands of odd requests, and none is a 500."""

import asyncio
import sys
from pathlib import Path

import pytest

from deploy.local.stack import Stack
from tests.e2e.people import Person

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "ignored_auth",
    "unsupported_method",
)
# Operations that end the session with which everything else is called; they get a run of their own.
ENDING = ("/api/v1/auth/logout",)
# What never ends by itself: each call takes as long as it is given.
STREAM = "/api/v1/stream"


async def fuzz(stack: Stack, service: str, tmp_path: Path, *options: str, seconds: int = 20) -> None:
    async with Person(stack.url, "fuzz") as person:
        await person.register()
        token = person.token
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"),
        "run",
        f"{stack.address(service)}/api/v1/{service}/openapi.json",
        f"--header=Authorization: Bearer {token}",
        f"--checks={','.join(CHECKS)}",
        "--phases=examples,coverage,fuzzing",
        "--max-examples=4",
        "--suppress-health-check=all",
        f"--request-timeout={seconds}",
        "--generation-database=none",
        "--workers=1",
        "--seed=7",
        "--no-color",
        *options,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    output, _ = await process.communicate()
    said = output.decode()
    assert process.returncode == 0, said[said.find("= FAILURES =") :][:8000]


@pytest.mark.promise("Z7")
@pytest.mark.parametrize("service", ["auth", "chat", "notify"])
async def test_odd_requests_get_described_answers(stack: Stack, service: str, tmp_path: Path) -> None:
    excluded = {"auth": ENDING, "chat": (STREAM,)}.get(service, ())
    await fuzz(stack, service, tmp_path, *(f"--exclude-path={path}" for path in excluded))


@pytest.mark.promise("Z7")
@pytest.mark.parametrize("path", ENDING)
async def test_odd_requests_to_what_ends_a_session(stack: Stack, path: str, tmp_path: Path) -> None:
    await fuzz(stack, "auth", tmp_path, f"--include-path={path}")


@pytest.mark.promise("Z7")
async def test_odd_requests_to_what_never_ends(stack: Stack, tmp_path: Path) -> None:
    await fuzz(stack, "chat", tmp_path, f"--include-path={STREAM}", seconds=2)
