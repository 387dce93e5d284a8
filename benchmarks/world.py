"""Databases and our services, as small as a comparison needs them: real servers, durable, production settings."""

import base64
import os
import secrets
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from benchmarks import cpu
from benchmarks.processes import HOST, ROOT, Servers, free_port, scratch
from deploy.local.servers import PostgresServer, Server, ValkeyServer
from libs.keys import KeyRing
from libs.tokens import Issuer


class World:
    def __init__(self, servers: Servers, cores: set[int]) -> None:
        self.servers = servers
        self.cores = cores
        self.folder = scratch("world")
        self.ring = KeyRing.create(self.folder / "keys.json")
        self.postgres = PostgresServer(durable=True)
        self.valkey = ValkeyServer(durable=True)
        self.databases = [self._start(self.postgres), self._start(self.valkey)]
        self.ports = {name: free_port() for name in ("gateway", "auth", "chat", "notify")}
        self.env = self._environment()

    def _start(self, server: Server) -> int:
        self.servers.run(server.start())
        self.servers.callback(lambda: self.servers.run(server.close()))
        pid = server.process.pid if server.process else None
        assert pid is not None
        cpu.pin([pid], self.cores)
        return pid

    def database(self, name: str) -> str:
        return self.servers.run(self.postgres.create_database(name))

    def _environment(self) -> dict[str, str]:
        key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        own = {
            "PARLEY_ENVIRONMENT": "production",
            "PARLEY_LOG_LEVEL": "warning",
            "PARLEY_KEY_RING": str(self.folder / "keys.json"),
            "PARLEY_FIELD_KEYS": f"bench:{key}",
            "REDIS_URL": self.valkey.url,
        }
        for name, port in self.ports.items():
            own |= {f"{name.upper()}_HOST": HOST, f"{name.upper()}_PORT": str(port)}
            own[f"PARLEY_{name.upper()}_URL"] = f"http://{HOST}:{port}"
        for name in ("auth", "chat", "notify"):
            own[f"{name.upper()}_DATABASE_URL"] = self.database(name)
        return own

    def command(self, package: str, verb: str) -> list[str]:
        return [sys.executable, "-m", package, verb]

    def migrate(self, package: str) -> None:
        from deploy.local.processes import Process

        log = ROOT / ".parley" / "benchmarks" / "logs" / f"{package}-migrate.log"
        process = Process(f"{package} migrate", self.command(package, "migrate"), log, env={**os.environ, **self.env})
        self.servers.run(process.start())
        if self.servers.run(process.wait()):
            raise SystemExit(f"{process.name} failed.{process.tail()}")

    def serve(
        self, package: str, *, cores: set[int], env: Mapping[str, str] | None = None, port: int | None = None
    ) -> int:
        """One process of a service on its own port, or a second one on another."""
        name = package.removesuffix("_service")
        own = {**self.env, **(env or {})}
        if port is not None:
            own[f"{name.upper()}_PORT"] = str(port)
        where = port or self.ports[name]
        return self.servers.serve(
            self.command(package, "serve"), where, name=f"{package}-{where}", cores=cores, env=own
        )

    def work(self, package: str, *, env: Mapping[str, str] | None = None) -> int:
        own = {**self.env, **(env or {})}
        return self.servers.start(self.command(package, "worker"), name=f"{package}-worker", cores=self.cores, env=own)

    def token(self, user_id: str) -> str:
        """An access token as auth signs it, good for an hour."""
        now = time.time()
        claims = {
            "iss": "parley",
            "aud": "parley",
            "sub": user_id,
            "user_id": user_id,
            "userId": user_id,
            "email": None,
            "type": "access",
            "sid": str(uuid.uuid4()),
            "jti": str(uuid.uuid4()),
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now) + 3600,
            "iat_ms": int(now * 1000),
            "ver": 1,
            "roles": ["user"],
            "amr": ["pwd"],
            "aal": 1,
        }
        return Issuer(self.ring).sign(claims)


def country_database(folder: Path) -> Path:
    """A file in the flat schema that knows the loopback network, so that every request pays for a real look-up."""
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


def redis_round_trip(url: str, count: int = 2000) -> float:
    """Median milliseconds of a PING on a connection that is open already."""
    import socket
    from urllib.parse import urlsplit

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
