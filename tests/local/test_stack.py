"""The stack with stand-ins for the services: small servers that tell their environment."""

import json
import os
import socket
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local import ports
from deploy.local.environment import assign, members, scrubbed
from deploy.local.errors import PortTaken, ProcessError
from deploy.local.stack import Stack
from tests.local.machine import open_folder
from tests.local.test_processes import gone

NAMES = ["sandbox", "auth", "chat", "chat-2", "notify", "auth-worker", "chat-worker", "notify-worker", "gateway"]

STAND_IN = """
import http.server, json, os, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"arguments": sys.argv[1:], "env": dict(os.environ)}).encode())
    def log_message(self, *_):
        pass
prefix = __spec__.parent.rpartition(".")[2].removesuffix("_service").upper()
if sys.argv[1:2] == ["fail"]:
    sys.exit("it cannot be done")
if sys.argv[1:2] == ["hello"]:
    sys.exit(print("hello from", prefix, os.environ.get(prefix + "_DATABASE_URL", "")[:13]))
inherited = os.environ.get("PARLEY_LISTEN_FD")
port = int(os.environ[prefix + "_PORT"]) or int(os.environ[prefix + "_METRICS_PORT"])
server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler, bind_and_activate=not inherited)
if inherited:
    server.socket = socket.socket(fileno=int(inherited))
if "PARLEY_READY_FD" in os.environ:
    os.write(int(os.environ["PARLEY_READY_FD"]), b"ready")
server.serve_forever()
"""


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stand-ins")
    for module in ("deploy/sandbox", "auth_service", "chat_service", "notify_service", "gateway"):
        (folder / module).mkdir(parents=True)
        (folder / module / "__main__.py").write_text(STAND_IN)
    return folder


@pytest.fixture(scope="module")
async def stack(stand_ins: Path) -> AsyncIterator[Stack]:
    stack = Stack(extra={"*": {"PYTHONPATH": str(stand_ins)}, "chat-2": {"CHAT_MARK": "second"}})
    await stack.start_servers()
    await stack.start_services()
    yield stack
    await stack.stop()


def told(stack: Stack, name: str) -> dict[str, str]:
    with urllib.request.urlopen(stack.address(name), timeout=60) as answer:
        env: dict[str, str] = json.loads(answer.read())["env"]
    return env


async def test_everything_runs_on_ports_of_its_own(stack: Stack) -> None:
    assert list(stack.processes) == NAMES
    assert stack.names() == ["valkey", "postgres", *NAMES]
    assert all(stack.is_running(name) for name in stack.names())
    used = [*stack.addresses.requests.values(), *stack.addresses.metrics.values(), stack.addresses.smtp]
    assert len(set(used)) == len(used)


async def test_each_service_is_told_its_own_database_only(stack: Stack) -> None:
    env = told(stack, "auth")
    assert env["AUTH_DATABASE_URL"].endswith("/auth")
    assert "CHAT_DATABASE_URL" not in env
    assert env["REDIS_URL"] == stack.world.redis_url
    assert env["PARLEY_ENVIRONMENT"] == "development"
    assert env["PARLEY_KEY_RING"] == str(stack.state.keys)
    assert env["PARLEY_CHAT_URL"] == stack.address("chat")
    assert stack.state.keys.stat().st_mode & 0o777 == 0o600


async def test_gateway_knows_both_chats(stack: Stack) -> None:
    env = told(stack, "gateway")
    assert env["GATEWAY_CHAT_URLS"] == f"{stack.address('chat')},{stack.address('chat-2')}"
    assert env["GATEWAY_SOCKET_URLS"] == env["GATEWAY_CHAT_URLS"]
    assert env["GATEWAY_AUTH_URLS"] == stack.address("auth")
    assert env["PARLEY_PUBLIC_URL"] == stack.url


async def test_extra_environment_is_for_one_process(stack: Stack) -> None:
    assert told(stack, "chat-2")["CHAT_MARK"] == "second"
    assert "CHAT_MARK" not in told(stack, "chat")


async def test_notify_and_sandbox_share_a_mail_account(stack: Stack) -> None:
    url, sandbox = told(stack, "notify")["NOTIFY_SMTP_URL"], told(stack, "sandbox")
    account = f"{sandbox['SANDBOX_SMTP_USER']}:{sandbox['SANDBOX_SMTP_PASSWORD']}"
    assert url == f"smtp://{account}@127.0.0.1:{stack.addresses.smtp}?starttls=required"


async def test_killed_process_comes_back_at_its_address(stack: Stack) -> None:
    address, pid = stack.address("chat-2"), stack.process("chat-2").pid
    stack.process("chat-2").kill()
    assert not stack.is_running("chat-2")
    await stack.restart("chat-2")
    assert stack.address("chat-2") == address
    assert stack.process("chat-2").pid != pid
    assert told(stack, "chat-2")["CHAT_MARK"] == "second"


@pytest.mark.promise("G37")
@pytest.mark.parametrize("name", ["gateway", "chat-2", "chat-worker", "sandbox"])
async def test_process_is_renewed_where_it_is(stack: Stack, name: str) -> None:
    pid = stack.process(name).pid
    await stack.renew(name)
    assert stack.is_running(name)
    assert stack.process(name).pid != pid
    assert await gone(pid or 0)
    if name in stack.addresses.requests:
        told(stack, name)


async def test_killed_server_comes_back(stack: Stack) -> None:
    assert stack.valkey is not None
    stack.valkey.kill()
    assert not stack.is_running("valkey")
    await stack.restart("valkey")
    assert stack.is_running("valkey")


async def test_command_of_a_service_gets_its_environment(stack: Stack) -> None:
    assert await stack.run("auth", "hello") == "hello from AUTH postgresql://\n"


async def test_command_that_fails_tells_why(stack: Stack) -> None:
    with pytest.raises(ProcessError, match=r"(?s)auth fail ended with code 1.*it cannot be done"):
        await stack.run("auth", "fail")


async def test_stop_leaves_nothing(stand_ins: Path) -> None:
    stack = Stack(extra={"*": {"PYTHONPATH": str(stand_ins)}}, chats=1)
    await stack.start_servers()
    await stack.start_services()
    assert "chat-2" not in stack.processes
    assert stack.postgres is not None
    processes = [*stack.processes.values(), stack.postgres.process]
    folder = stack.state.folder
    await stack.stop()
    assert await gone(*(process.pid for process in processes if process and process.pid))
    assert not folder.exists()


async def test_a_process_that_does_not_come_up_stops_all(stand_ins: Path) -> None:
    stack = Stack(
        extra={"*": {"PYTHONPATH": str(stand_ins)}, "notify": {"NOTIFY_METRICS_PORT": "x", "PYTHONPATH": "/"}}
    )
    try:
        await stack.start_servers()
        with pytest.raises(ProcessError, match="notify ended with code 1"):
            await stack.start_services()
    finally:
        await stack.stop()
    assert not any(process.running for process in stack.processes.values())


async def test_servers_of_the_user_are_used_and_not_started(tmp_path: Path) -> None:
    environ = {f"{name}_DATABASE_URL": f"postgresql://u:p@db/{name}" for name in ("AUTH", "CHAT", "NOTIFY")}
    stack = Stack(folder=tmp_path / "state", environ={**environ, "REDIS_URL": "redis://there/0"})
    try:
        await stack.start_servers()
        assert (stack.postgres, stack.valkey) == (None, None)
        assert stack.env("chat")["CHAT_DATABASE_URL"] == "postgresql://u:p@db/CHAT"
        assert stack.env("chat")["REDIS_URL"] == "redis://there/0"
    finally:
        await stack.stop()


async def test_servers_take_no_port_that_a_process_will_have(monkeypatch: pytest.MonkeyPatch) -> None:
    last = int(os.environ["PARLEY_PORTS"].partition("-")[2])
    monkeypatch.setenv("PARLEY_PORTS", f"{last - 23}-{last}")
    environ = {f"{name}_DATABASE_URL": f"postgresql://u:p@db/{name}" for name in ("AUTH", "CHAT", "NOTIFY")}
    with open_folder() as folder:
        stack = Stack(folder=folder / "state", environ=environ)
        try:
            await stack.start_servers()
            assert stack.valkey is not None
            assert stack.valkey.port not in stack.addresses.assigned
        finally:
            await stack.stop()


def test_usual_ports_are_taken_where_they_are_free() -> None:
    free = assign(members(), fixed=True, gateway_port=None).requests
    wanted = {member.name: member.port for member in members() if member.port > 0}
    assert all(free[name] == port for name, port in wanted.items() if ports.is_free(port))


def test_gateway_port_is_not_given_up() -> None:
    taken = ports.free_port()
    with socket.create_server((ports.HOST, taken)), pytest.raises(PortTaken):
        assign(members(), fixed=True, gateway_port=taken)


def test_throw_away_stack_knows_nothing_of_the_users_servers() -> None:
    environ = {"AUTH_DATABASE_URL": "x", "REDIS_URL": "y", "PARLEY_KEY_RING": "z", "PATH": os.defpath}
    assert scrubbed(environ).keys() == {"PATH", "PYTHONPATH"}
