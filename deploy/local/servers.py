"""PostgreSQL and Valkey of our own: on free ports of the loopback interface, with a password, never left behind.

    async with PostgresServer() as postgres, ValkeyServer() as valkey:
        url = await postgres.create_database("auth")

Without a folder they are throw-away: a temporary folder and nothing written through to the disk. With a folder they
keep their data and are as durable as in production; `durable` says otherwise.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from deploy.local import binaries, ports
from deploy.local.errors import ProcessError
from deploy.local.processes import Process, unprivileged

_USER = "app"


class Server:
    """What both have in common: folder, port, process, password."""

    def __init__(self, name: str, folder: Path | None, *, durable: bool | None, password: str | None) -> None:
        self._temporary = folder is None
        self.name = name
        self._folder = folder
        self.durable = not self._temporary if durable is None else durable
        self.password = password or secrets.token_urlsafe(24)
        self.port = 0
        self.keep_open: Sequence[int] = ()
        self.process: Process | None = None
        self.log: Path | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def url(self) -> str:
        raise NotImplementedError

    @property
    def folder(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="parley-"))
        return self._folder

    async def start(self) -> None:
        """On the port that it had before, so that clients find it again."""
        self.port = self.port or ports.free_port()
        self._make_folder()
        await self._prepare()
        self.process = self._make_process()
        self.process.keep_open = self.keep_open
        try:
            await self._start_process(self.process)
        except BaseException:
            await self.process.stop()
            raise

    async def stop(self) -> None:
        if self.process is not None:
            await self.process.stop()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def kill(self) -> None:
        """`kill -9` of the server."""
        if self.process is not None:
            self.process.kill()

    async def close(self) -> None:
        """Stops it, and removes a temporary folder."""
        await self.stop()
        if self._temporary and self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
            self._folder = None

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.running

    def _make_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.log = self.log or self.folder / f"{self.name}.log"
        if os.geteuid() == 0:
            # The server is `nobody` then: it goes through our folder to its data, and can change nothing else in it.
            self.folder.chmod(0o755)
            if not binaries.open_to_all(self.folder):
                raise ProcessError(f"{self.name} runs as nobody and cannot enter {self.folder}: choose another.")

    def _give(self, path: Path) -> None:
        identity = unprivileged()
        if identity:
            os.chown(path, int(str(identity["user"])), int(str(identity["group"])))

    def _write_private(self, path: Path, text: str) -> None:
        """A file that nobody but the server can read."""
        path.unlink(missing_ok=True)
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(text)
        self._give(path)

    def _new_process(self, command: Sequence[str | Path], *, stop_signal: signal.Signals) -> Process:
        return Process(
            self.name,
            command,
            log=self.log or self.folder / f"{self.name}.log",
            # Nothing of our environment: a PGDATA or PGPORT of the user's is about another server.
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            cwd=self.folder,
            identity=unprivileged(),
            stop_signal=stop_signal,
            keep_open=self.keep_open,
        )

    async def _prepare(self) -> None:
        raise NotImplementedError

    def _make_process(self) -> Process:
        raise NotImplementedError

    async def _start_process(self, process: Process) -> None:
        raise NotImplementedError


class PostgresServer(Server):
    def __init__(self, folder: Path | None = None, *, durable: bool | None = None, password: str | None = None) -> None:
        super().__init__("postgres", folder, durable=durable, password=password)
        self.settings: dict[str, str] = {}
        """More server settings, from the next start on."""
        self._program: binaries.Program | None = None

    @property
    def url(self) -> str:
        return self.database_url("postgres")

    def database_url(self, name: str) -> str:
        return f"postgresql://{_USER}:{self.password}@{ports.HOST}:{self.port}/{name}"

    async def create_database(self, name: str) -> str:
        """The URL of a database that exists from now on."""
        # Here, so that starting servers needs the standard library alone.
        import asyncpg

        connection = await asyncpg.connect(self.url)
        try:
            with contextlib.suppress(asyncpg.DuplicateDatabaseError):
                await connection.execute(f'CREATE DATABASE "{name}"')
        finally:
            await connection.close()
        return self.database_url(name)

    @property
    def program(self) -> binaries.Program:
        self._program = self._program or binaries.postgres()
        return self._program

    @property
    def data(self) -> Path:
        return self.folder / "data"

    async def _prepare(self) -> None:
        version = self.data / "PG_VERSION"
        if not version.exists():
            await self._initdb()
        found = int(version.read_text())
        if found != self.program.major:
            raise ProcessError(
                f"{self.data} was made by PostgreSQL {found}, and the server found is {self.program.major}"
                f" ({self.program.path}). PARLEY_LOCAL_BINARIES=wheel or =system chooses the server;"
                " `./parley clean` begins anew."
            )

    async def _initdb(self) -> None:
        # Made beside and renamed when complete: an interrupted start leaves nothing that looks like data.
        unfinished = self.folder / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self._give(unfinished)
        password = self.folder / "password"
        self._write_private(password, self.password)
        command: list[str | Path] = [self.program.path.with_name("initdb"), "-D", unfinished, "--data-checksums"]
        command += ["-U", _USER, "--pwfile", password, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C"]
        if self.program.major >= 17:
            # The C locale alone knows no upper and lower case beyond ASCII.
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if not self.durable:
            command.append("--no-sync")
        process = self._new_process(command, stop_signal=signal.SIGTERM)
        await process.start()
        try:
            code = await process.wait()
        finally:
            await process.stop()
            password.unlink()
        if code != 0:
            raise ProcessError(f"initdb failed with code {code}.{process.tail()}")
        unfinished.rename(self.data)

    def _make_process(self) -> Process:
        settings = {
            "listen_addresses": ports.HOST,
            "port": str(self.port),
            # No socket file: its path may have about 100 bytes, and ours begins wherever the checkout lies.
            "unix_socket_directories": "",
            "max_connections": "200",
            "log_line_prefix": "%m ",
            "log_timezone": "UTC",
            "timezone": "UTC",
        }
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        settings |= self.settings
        command: list[str | Path] = [self.program.path, "-D", self.data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return self._new_process(command, stop_signal=signal.SIGINT)

    async def _start_process(self, process: Process) -> None:
        await process.start()
        try:
            await process.ready(self._is_ready)
        except ProcessError as error:
            if 'lock file "postmaster.pid"' in process.output():
                raise ProcessError(f"{self.data} is in use by another PostgreSQL.") from error
            raise

    async def _is_ready(self) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        pid = self.process.pid if self.process else None
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


class ValkeyServer(Server):
    def __init__(self, folder: Path | None = None, *, durable: bool | None = None, password: str | None = None) -> None:
        super().__init__("valkey", folder, durable=durable, password=password)

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{ports.HOST}:{self.port}/0"

    async def _prepare(self) -> None:
        data = self.folder / "data"
        if not data.exists():
            data.mkdir(mode=0o700)
            self._give(data)
        settings = {
            "bind": ports.HOST,
            "port": str(self.port),
            "requirepass": self.password,
            "dir": str(data),
            "save": "",
            "appendonly": "yes" if self.durable else "no",
            "maxmemory-policy": "noeviction",
        }
        # In a file and not on the command line, which everybody can read.
        lines = [f"{name} {json.dumps(value, ensure_ascii=False)}\n" for name, value in settings.items()]
        self._write_private(self.folder / "valkey.conf", "".join(lines))

    def _make_process(self) -> Process:
        return self._new_process([binaries.valkey().path, self.folder / "valkey.conf"], stop_signal=signal.SIGTERM)

    async def _start_process(self, process: Process) -> None:
        await process.start()
        await process.ready(self._is_ready)

    async def _is_ready(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection(ports.HOST, self.port)
        except OSError:
            return False
        try:
            writer.write(f"AUTH {self.password}\r\nPING\r\n".encode())
            # Until it has read its data back, it answers PING with an error.
            return (await reader.readline(), await reader.readline()) == (b"+OK\r\n", b"+PONG\r\n")
        except ConnectionError:
            return False
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
