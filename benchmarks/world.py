"""Databases and our services, only as many as a comparison needs: real servers, durable, production settings."""

import base64
import secrets
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

import httpx2
from redis import Redis

from benchmarks import cpu
from benchmarks.processes import HOST, ROOT, Servers
from deploy.local.servers import PostgresServer, Server, ValkeyServer
from deploy.local.stack import Stack
from libs.keys import KeyRing
from libs.testing.tokens import access_claims, access_token

S = TypeVar("S", bound=Server)
PASSWORD = "correct horse battery staple"
TOKEN_SECONDS = 6 * 3600
PRODUCTION = {
    "PARLEY_ENVIRONMENT": "production",
    "PARLEY_LOG_LEVEL": "warning",
    "AUTH_REFRESH_KEYS": f"1:{base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip('=')}",
}


class Registered(NamedTuple):
    id: str
    email: str
    device: str
    """The token of the device, which the account knows from now on."""


class World:
    """`wanted` are names of processes as in `./parley up`; without any, only PostgreSQL and Valkey run."""

    def __init__(
        self,
        servers: Servers,
        *,
        cores: cpu.Cores,
        wanted: Sequence[str] = (),
        extra: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.servers = servers
        self.cores = cores
        self.wanted = wanted
        # Not below the checkout: the databases of root run as `nobody`, who may not be able to go there.
        self.folder = Path(tempfile.mkdtemp(prefix="parley-bench-"))
        servers.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.stack = Stack(
            folder=self.folder,
            chats=2,
            extra={"*": PRODUCTION, **(extra or {})},
        )
        servers.callback(lambda: servers.run(self.stack.stop()))
        servers.run(self.stack.start_servers())
        self.postgres: PostgresServer = running(self.stack.postgres)
        self.valkey: ValkeyServer = running(self.stack.valkey)
        self.databases = [pid_of(self.postgres), pid_of(self.valkey)]
        cpu.pin(self.databases, cores.others)

    def start(self) -> None:
        self.servers.run(self.stack.migrate())
        for name in self.wanted:
            self.begin(name)

    def begin(self, name: str) -> None:
        """Starts a process, as `notify-worker`, and waits until it is ready."""
        self.servers.run(self.stack.process(name).start())
        self.servers.run(self.stack.ready(name))
        cpu.pin([self.pid(name)], self.cores.subject)

    @contextmanager
    def beside(self, name: str) -> Iterator[None]:
        """A process that only one comparison needs."""
        self.begin(name)
        try:
            yield
        finally:
            self.servers.run(self.stack.process(name).stop())

    def pid(self, name: str) -> int:
        return self.stack.process(name).pid or 0

    def pids(self) -> list[int]:
        return [self.pid(name) for name in self.wanted]

    def port(self, name: str) -> int:
        return self.stack.addresses.requests[name]

    def database(self, name: str) -> str:
        return self.servers.run(self.postgres.create_database(name))

    def token(self, user_id: str) -> str:
        """As auth signs them, but good for as long as the longest comparison."""
        claims = access_claims(user_id, exp=int(time.time()) + TOKEN_SECONDS)
        return access_token(KeyRing(self.stack.world.key_ring), claims)

    def register(self, count: int) -> list[Registered]:
        """Accounts made through the API."""
        made = []
        with httpx2.Client(base_url=self.stack.address("auth"), timeout=30) as http:
            for _ in range(count):
                email = f"{uuid.uuid4().hex}@example.com"
                answer = http.post("/api/v1/auth/register", json={"email": email, "password": PASSWORD})
                answer.raise_for_status()
                made.append(Registered(str(answer.json()["user"]["id"]), email, answer.headers["X-Device-Token"]))
        return made

    def group(self, people: Sequence[str]) -> str:
        """A conversation of these people, as soon as chat knows them all."""
        headers = {"Authorization": f"Bearer {self.token(people[0])}"}
        body = {"conversation_type": "group", "name": "benchmark", "participants": list(people[1:])}
        with httpx2.Client(base_url=self.stack.address("chat"), headers=headers, timeout=30) as http:
            for patience in reversed(range(50)):
                answer = http.post("/api/v1/conversations", json=body)
                if answer.status_code == 201 or not patience:
                    break
                time.sleep(0.2)
        answer.raise_for_status()
        return str(answer.json()["id"])


def running(server: S | None) -> S:
    if server is None:
        raise RuntimeError("The databases are somebody else's; benchmarks start their own.")
    return server


def pid_of(server: Server) -> int:
    return (server.process.pid if server.process else None) or 0


def country_database(folder: Path) -> Path:
    """A file in the usual schema that knows the loopback network, so that every request pays for a real look-up."""
    from mmdb_writer import MMDBWriter
    from netaddr import IPSet

    writer = MMDBWriter(ip_version=4, database_type="GeoLite2-Country", description="benchmark")
    for number, country in enumerate(("DE", "FR", "BR", "IN")):
        writer.insert_network(IPSet([f"{10 + number}.0.0.0/8"]), {"country": {"iso_code": country}})
    writer.insert_network(IPSet(["127.0.0.0/8"]), {"country": {"iso_code": "DE"}})
    target = folder / "countries.mmdb"
    writer.to_db_file(str(target))
    return target


def installed(package: str) -> bool:
    """Whether this checkout has the service yet, so that a comparison can say why it was left out."""
    return (ROOT / package / "__main__.py").exists()


def script_calls(url: str) -> int:
    """How often a script was called since the server started."""
    with Redis.from_url(url) as client:
        found = client.info("commandstats")
    return int(found.get("cmdstat_evalsha", {}).get("calls", 0))


def redis_round_trip(url: str, count: int = 2000) -> float:
    """Median milliseconds of a PING on a connection that is open already."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or HOST, parts.port or 6379)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(f"AUTH {parts.password}\r\n".encode())
        connection.recv(64)
        taken = []
        for _ in range(count):
            began = time.perf_counter()
            connection.sendall(b"PING\r\n")
            connection.recv(64)
            taken.append(time.perf_counter() - began)
    return sorted(taken)[count // 2] * 1000
