"""All of Parley as one object: servers, services, workers, sandbox.

    async with Stack() as stack:
        stack.url                       # of the gateway
        stack.process("chat-2").kill()
        await stack.restart("chat-2")

Without a folder it is throw-away, on free ports, with servers of its own whatever the environment says.
"""

import asyncio
import contextlib
import http.client
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from deploy.local import ports
from deploy.local.binaries import CHECKOUT
from deploy.local.environment import DATABASES, Addresses, Member, World, assign, members, scrubbed
from deploy.local.errors import ProcessError
from deploy.local.processes import Process
from deploy.local.servers import PostgresServer, Server, ValkeyServer
from deploy.local.state import State

_COMMAND_SECONDS = 60


@dataclass(eq=False)
class Stack:
    folder: Path | None = None
    """Where data stays; None: a temporary folder, removed at the end."""
    gateway_port: int | None = None
    fixed_ports: bool = False
    """Whether the usual ports are taken where they are free."""
    chats: int = 2
    environ: Mapping[str, str] | None = None
    """Of the user, with the addresses of servers to use instead of our own; None: ours, without what means Parley."""
    extra: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """More environment by name of process; `*` is for all."""
    leave_out: Iterable[str] = ()
    """Names of processes that are not started, as `sandbox`."""
    seed: bool = False
    """Whether there are demo users."""
    keep_open: Sequence[int] = ()
    report: Callable[[str], None] = field(default=lambda _: None, repr=False)

    postgres: PostgresServer | None = field(default=None, init=False)
    valkey: ValkeyServer | None = field(default=None, init=False)
    addresses: Addresses = field(default_factory=Addresses, init=False)
    _world: World | None = field(default=None, init=False)
    _state: State | None = field(default=None, init=False)
    _processes: dict[str, Process] = field(default_factory=dict, init=False)
    _restarting: set[str] = field(default_factory=set, init=False)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        try:
            await self.start_servers()
            await self.migrate()
            await _together([self.start_services(), *([self._seed()] if self.seed else [])])
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Who asks first, then who answers, the servers last: nobody sees a neighbour missing."""
        for group in self._groups(reverse=True):
            await asyncio.gather(*(self._processes[name].stop() for name in group))
        await asyncio.gather(*(server.close() for server in self._servers()))
        if self.folder is None and self._state is not None:
            await asyncio.to_thread(shutil.rmtree, self._state.folder, ignore_errors=True)
        self._state = None

    async def start_servers(self) -> None:
        """PostgreSQL, Valkey, databases and keys: all that commands of a service need."""
        chosen = [member for member in members(self.chats) if member.name not in self.leave_out]
        self.addresses = assign(chosen, fixed=self.fixed_ports, gateway_port=self.gateway_port)
        state = self._make_state()
        kept = state.secrets()
        environ = scrubbed(os.environ) if self.environ is None else self.environ
        databases = await self._start_postgres(environ, kept["postgres"])
        redis_url = await self._start_valkey(environ, kept["valkey"])
        self._world = World(
            addresses=self.addresses,
            databases=databases,
            redis_url=redis_url,
            key_ring=Path(environ.get("PARLEY_KEY_RING", state.keys)),
            certificate=state.folder / "sandbox.pem",
            files=state.folder / "attachments",
            countries=state.countries,
            secrets=kept,
            environ=environ,
        )
        if not self._world.key_ring.exists():
            # Here and below: the command line answers `--help` before anything is installed.
            from libs.keys import KeyRing

            KeyRing.create(self._world.key_ring)
        self._processes = {member.name: self._make_process(member) for member in chosen}

    async def migrate(self) -> None:
        from libs.migrations import upgrade

        for name, url in self.world.databases.items():
            await asyncio.to_thread(upgrade, name, url)
        self.report("Databases are migrated")

    async def start_services(self) -> None:
        for group in self._groups():
            await _together(self._start(name) for name in group)

    def process(self, name: str) -> Process:
        return self._processes[name]

    @property
    def processes(self) -> Mapping[str, Process]:
        return self._processes

    async def restart(self, name: str) -> None:
        """A process by its name, also one that was killed, or `postgres` or `valkey`; until it is ready."""
        for server in self._servers():
            if server.name == name:
                await server.restart()
                return
        await self._processes[name].stop()
        await self._start(name)

    async def renew(self, name: str) -> None:
        """Restarts a process. One that answers requests is replaced by a successor, and nobody notices."""
        process = self._processes.get(name)
        if process is not None and process.listen is not None and process.running:
            await process.replace()
            return
        self._restarting.add(name)
        try:
            await self.restart(name)
        finally:
            self._restarting.discard(name)

    def names(self) -> list[str]:
        """Everything that runs here: our own servers, and the processes."""
        return [*(server.name for server in self._servers()), *self._processes]

    def is_running(self, name: str) -> bool:
        if name in self._restarting:
            return True
        by_name = {server.name: server.running for server in self._servers()}
        return by_name[name] if name in by_name else self._processes[name].running

    async def ready(self, name: str) -> None:
        await self._processes[name].ready(lambda: self._is_ready(name))

    @property
    def world(self) -> World:
        if self._world is None:
            raise ProcessError("The stack has not been started.")
        return self._world

    @property
    def url(self) -> str:
        return self.addresses.url("gateway")

    @property
    def mailbox_url(self) -> str:
        return self.addresses.url("sandbox")

    def address(self, name: str) -> str:
        """Of one process that answers requests, as `chat-2`."""
        return self.addresses.url(name)

    def env(self, name: str) -> dict[str, str]:
        """What a command of that process needs to work beside it."""
        member = next(member for member in members(self.chats) if member.name == name)
        return {**self.world.of(member), **self.extra.get("*", {}), **self.extra.get(name, {})}

    async def run(self, service: str, *arguments: str) -> str:
        """One command of a service, as `run("auth", "seed-demo")`; gives what it wrote."""
        log = self.state.logs / f"{service}-command.log"
        command = [sys.executable, "-m", f"{service}_service", *arguments]
        process = Process(f"{service} {arguments[0]}", command, log=log, env=self.env(service), cwd=self._cwd)
        await process.start()
        try:
            async with asyncio.timeout(_COMMAND_SECONDS):
                code = await process.wait()
        finally:
            await process.stop()
        if code != 0:
            raise ProcessError(f"{process.name} ended with code {code}.{process.tail()}")
        return process.output()

    @property
    def state(self) -> State:
        return self._make_state()

    @property
    def _cwd(self) -> Path:
        # A throw-away stack must not read the `.env` of the checkout either.
        return self.state.folder if self.environ is None else CHECKOUT

    def _make_state(self) -> State:
        if self._state is None:
            folder = self.folder or Path(tempfile.mkdtemp(prefix="parley-"))
            self._state = State(folder)
            self._state.make()
        return self._state

    def _servers(self) -> list[Server]:
        return [server for server in (self.valkey, self.postgres) if server is not None]

    async def _start_postgres(self, environ: Mapping[str, str], password: str) -> dict[str, str]:
        given = {name: environ.get(f"{name.upper()}_DATABASE_URL") for name in DATABASES}
        urls = {name: url for name, url in given.items() if url}
        missing = [name for name in DATABASES if name not in urls]
        if missing:
            durable = self.folder is not None
            self.postgres = PostgresServer(self.state.folder / "postgres", durable=durable, password=password)
            self._equip(self.postgres)
            await self.postgres.start()
            self.report(f"PostgreSQL {self.postgres.program.major} is ready")
            for name in missing:
                urls[name] = await self.postgres.create_database(name)
        return urls

    async def _start_valkey(self, environ: Mapping[str, str], password: str) -> str:
        if environ.get("REDIS_URL"):
            return environ["REDIS_URL"]
        durable = self.folder is not None
        self.valkey = ValkeyServer(self.state.folder / "valkey", durable=durable, password=password)
        self._equip(self.valkey)
        await self.valkey.start()
        self.report("Valkey is ready")
        return self.valkey.url

    def _equip(self, server: Server) -> None:
        server.log = self.state.logs / f"{server.name}.log"
        server.keep_open = self.keep_open
        server.port = ports.free_port(self.addresses.assigned)

    def _make_process(self, member: Member) -> Process:
        return Process(
            member.name,
            [sys.executable, *self.world.command(member)],
            log=self.state.logs / f"{member.name}.log",
            env=self.env(member.name),
            cwd=self._cwd,
            listen=(ports.HOST, self.addresses.requests[member.name]) if member.inherits else None,
            keep_open=self.keep_open,
        )

    def _groups(self, *, reverse: bool = False) -> list[list[str]]:
        names = list(self._processes)
        door = [name for name in names if name == "gateway"]
        behind = [name for name in names if name not in ("gateway", "sandbox")]
        outside = [name for name in names if name == "sandbox"]
        # Starting, the door need not wait: Python takes a second to import, and readiness is asked for anyway.
        return [door, behind, outside] if reverse else [outside, behind + door]

    async def _seed(self) -> None:
        await self.run("auth", "seed-demo")
        self.report("Demo users are there")

    async def _start(self, name: str) -> None:
        process = self._processes[name]
        await process.start()
        await self.ready(name)
        self.report(f"{name} is ready")

    async def _is_ready(self, name: str) -> bool:
        port = self.addresses.requests.get(name)
        if port is None:
            # A worker answers nothing but its metrics.
            return not await asyncio.to_thread(ports.is_free, self.addresses.metrics[name])
        path = "/health/live" if name == "sandbox" else "/health/ready"
        return await asyncio.to_thread(_answers, port, path)


async def _together(parts: Iterable[Coroutine[None, None, None]]) -> None:
    """When one fails the others are interrupted, so that nothing starts behind the back of `stop`."""
    try:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(part)
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(ports.HOST, port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", path)
        return connection.getresponse().status == 200
    return False
