"""A Parley that sends: an administrator, a mail server that takes everything, and the peer on the same databases."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from typing import Any

import httpx2

from benchmarks import cpu, peers
from benchmarks.harness import LoadFailed
from benchmarks.processes import HOST, free_port
from benchmarks.world import TOKEN_SECONDS, World
from libs.keys import KeyRing
from libs.testing.tokens import access_claims, access_token

CONTENT = {
    "subject": "Your order {{order}}",
    "text": "Hello {{name}},\n\nyour order {{order}} has been sent today. Thank you for buying from us.\n\nThe shop\n",
    "html": "<html><body><h1>Hello {{name}},</h1><p>your order <b>{{order}}</b> has been sent today. Thank you for"
    " buying from us.</p><p>The shop</p></body></html>",
}
HOOK_SECRET = "a-secret-of-the-app"
NUMBER = "106540352242922"
CONNECTIONS = 32
_MOST = 10_000


class Desk:
    def __init__(self, world: World) -> None:
        self.world = world
        self.smtp, self.control = free_port(), free_port()
        sink = [sys.executable, "-m", "benchmarks.load.sink", str(self.smtp), str(self.control)]
        world.servers.serve(sink, self.control, name="sink")
        claims = access_claims(uuid.uuid4(), roles=["admin"], exp=int(time.time()) + TOKEN_SECONDS)
        token = access_token(KeyRing(world.stack.world.key_ring), claims)
        self.headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx2.Client(base_url=world.stack.address("notify"), headers=self.headers, timeout=120)
        world.servers.callback(self._http.close)
        # `urgent` sends nothing in bulk; for `silent` no worker sends, but who needs it does.
        for name in ("shop", "urgent", "silent"):
            config = {"host": HOST, "port": self.smtp, "security": "none", "connections": CONNECTIONS}
            config["sender"] = "Shop <shop@example.com>"
            self.call("POST", "/accounts", {"name": name, "provider": "smtp", "config": config})
        config = {"phone_number_id": NUMBER, "base_url": f"http://{HOST}:{self.control}"}
        secrets = {"token": "t", "app_secret": HOOK_SECRET, "verify_token": "v"}
        self.call("POST", "/accounts", {"name": "wa", "provider": "whatsapp", "config": config, "secrets": secrets})

    @property
    def worker(self) -> int:
        return self.world.pid("notify-worker")

    @property
    def database(self) -> str:
        return self.world.stack.world.databases["notify"]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        return self._answered(self._http.request(method, f"/api/v1{path}", json=body))

    def upload(self, path: str, file: bytes) -> Any:
        return self._answered(self._http.put(f"/api/v1{path}", content=file, headers={"Content-Type": "text/csv"}))

    def _answered(self, answer: httpx2.Response) -> Any:
        if not answer.is_success:
            raise LoadFailed(f"{answer.request.url}: {answer.status_code} {answer.text[:500]}")
        return answer.json() if answer.content else None

    def take(self, seconds: float, *, watch: bool = False) -> Any:
        """From now on the mail server takes so long for each mail. Returns what it has seen so far.

        `watch`: from now on it counts who gets one, and who more than one.
        """
        with socket.create_connection((HOST, self.control)) as connection, connection.makefile("rw") as lines:
            lines.write(json.dumps({"delay": seconds, "watch": watch}) + "\n")
            lines.flush()
            return json.loads(lines.readline())

    def order(self, count: int, account: str = "shop") -> list[str]:
        """So many mails, accepted. Returns the ids of their batches."""
        batches = []
        for start in range(0, count, _MOST):
            to = [
                {"address": f"r{number}@example.com", "variables": {"name": "Ada", "order": f"A-{number}"}}
                for number in range(start, min(count, start + _MOST))
            ]
            given = {"channel": "email", "account": account, "content": CONTENT, "category": "orders", "to": to}
            batches.append(self.call("POST", "/deliveries", given)["id"])
        return batches

    def order_phones(self, count: int) -> list[str]:
        """The same over WhatsApp, where nobody takes them."""
        content = {"template": {"name": "hello_world", "language": "en_US"}}
        batches = []
        for start in range(0, count, _MOST):
            to = [{"address": f"+4930{number:08}"} for number in range(start, min(count, start + _MOST))]
            given = {"channel": "whatsapp", "account": "wa", "content": content, "category": "orders", "to": to}
            batches.append(self.call("POST", "/deliveries", given)["id"])
        return batches


class Celery:
    """Its worker, prefork with two processes, and gunicorn with two."""

    def __init__(self, desk: Desk) -> None:
        world = desk.world
        self.env = {
            "PEER_DATABASE_URL": world.database("django_notify"),
            "PEER_REDIS_URL": world.valkey.url,
            "PEER_SECRET_KEY": uuid.uuid4().hex * 2,
            "PEER_SMTP_PORT": str(desk.smtp),
            "PEER_HOOK_SECRET": HOOK_SECRET,
            "DJANGO_SETTINGS_MODULE": "django_notify.settings",
        }
        self.run("django", "migrate", "--verbosity", "0")
        self.servers = world.servers

    def run(self, *arguments: str) -> None:
        command = [str(peers.python()), "-m", *arguments]
        subprocess.run(command, check=True, cwd=peers.FOLDER, env={**os.environ, **self.env})

    def worker(self) -> int:
        argv = [str(peers.python()), "-m", "celery", "-A", "django_notify", "worker", "--concurrency", "2"]
        argv += ["--pool", "prefork", "--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
        pid = self.servers.start(argv, name="celery", env=self.env, cwd=peers.FOLDER)
        while len(cpu.tree([pid], cpu.processes())) < 3:
            time.sleep(0.1)
        return pid

    def web(self) -> tuple[int, int]:
        """Threads, because its plain workers close each connection after one answer."""
        port = free_port()
        argv = [str(peers.python()), "-m", "gunicorn", "django_notify.wsgi:application", "--workers", "2"]
        argv += ["--threads", "16", "--keep-alive", "75", "--bind", f"{HOST}:{port}", "--log-level", "warning"]
        return port, self.servers.serve(argv, port, name="gunicorn", env=self.env, cwd=peers.FOLDER)


def stand_still(pid: int) -> None:
    for each in cpu.tree([pid], cpu.processes()):
        os.kill(each, signal.SIGSTOP)


def go_on(pid: int) -> None:
    for each in cpu.tree([pid], cpu.processes()):
        os.kill(each, signal.SIGCONT)


def states(desk: Desk, batches: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for batch in batches:
        for state, count in desk.call("GET", f"/deliveries/batches/{batch}")["states"].items():
            found[state] = found.get(state, 0) + count
    return found
