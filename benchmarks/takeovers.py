"""A worker is killed in the middle of a campaign: how soon its rows move again, and what became of each."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from benchmarks.campaigns import drafted
from benchmarks.desk import CONNECTIONS, Desk
from benchmarks.harness import LoadFailed, Options
from benchmarks.processes import free_port
from benchmarks.report import Part, Table, spread
from benchmarks.stats import Goal, Outcome

NG7 = Goal("notify NG7", "seconds after kill -9 until all rows that the worker had taken move again", most=15)
NG7_ALONE = Goal("notify NG7", "the same where no other worker runs and it is started anew", most=15)
NG7_DOUBT = Goal("notify NG7", "rows in doubt (`unknown`) for each connection that it had", most=1)
NG7_WRONG = Goal("notify NG7", "mails twice or lost, by the log of the mail server", most=0)
_RECIPIENTS = 16_000
# Sixteen connections send 800 a second.
_DELAY_SECONDS = 0.02
_AMIDST_SECONDS = 3.0
_PATIENCE_SECONDS = 120.0
# After what was in the sockets of the dead.
_ECHO_SECONDS = 0.2
_MOST_ROUNDS = 3
_HELD = """
SELECT d.id, d.fence FROM delivery AS d JOIN campaign AS c ON c.batch_id = d.batch_id
WHERE c.id = $1 AND d.state IN ('claimed', 'sending')
"""
_STILL = """
SELECT count(*) FROM delivery JOIN unnest($1::uuid[], $2::int[]) AS held(held_id, held_fence)
    ON id = held_id AND fence = held_fence AND state IN ('claimed', 'sending')
"""


@dataclass(frozen=True, slots=True)
class Run:
    """In seconds since the kill."""

    mails: float
    rows: float
    held: int
    unknown: int
    wrong: int


def killed(desk: Desk, *, anew: bool) -> Run:
    """`anew`: it is started again at once."""
    desk.take(_DELAY_SECONDS, watch=True)
    campaign, _ = drafted(desk, _RECIPIENTS)
    desk.call("POST", f"/campaigns/{campaign}/start")
    time.sleep(_AMIDST_SECONDS)
    at = time.monotonic()
    mails, rows, held = desk.world.servers.run(_moved(desk, campaign, anew=anew))
    while (found := desk.call("GET", f"/campaigns/{campaign}"))["state"] != "finished":
        time.sleep(0.2)
        if time.monotonic() - at > _PATIENCE_SECONDS:
            raise LoadFailed(f"not finished: {found['counts']}")
    counts = found["counts"]
    seen = desk.take(0.0)
    sent, unknown = counts.get("sent", 0), counts.get("unknown", 0)
    if sent + unknown != _RECIPIENTS:
        raise LoadFailed(f"not all are sent or in doubt: {counts}")
    return Run(mails, rows, held, unknown, seen["twice"] + max(0, sent - seen["different"]))


async def _moved(desk: Desk, campaign: str, *, anew: bool) -> tuple[float, float, int]:
    """Seconds until the next mail, and until nothing is as the dead worker left it; how many rows it had."""
    worker = desk.world.stack.process("notify-worker")
    connection = await asyncpg.connect(desk.database)
    try:
        began = time.monotonic()
        worker.kill()
        if anew:
            await worker.start()
        held = await connection.fetch(_HELD, campaign)
        columns = [row["id"] for row in held], [row["fence"] for row in held]
        mails = rows = 0.0
        while not (mails and rows):
            await asyncio.sleep(0.05)
            now = time.monotonic()
            if now - began > _PATIENCE_SECONDS:
                raise LoadFailed("nothing moves")
            last = (await asyncio.to_thread(desk.take, _DELAY_SECONDS))["last"]
            mails = mails or (last - began if last > began + _ECHO_SECONDS else 0.0)
            rows = rows or (0.0 if await connection.fetchval(_STILL, *columns) else now - began)
        return mails, rows, len(held)
    finally:
        await connection.close()


def beside_another(desk: Desk) -> Run:
    """Another worker is there, and has nothing to do."""
    world = desk.world
    environment = {**world.stack.env("notify-worker"), "NOTIFY_METRICS_PORT": str(free_port())}
    argv = [sys.executable, "-m", "notify_service", "worker"]
    other = world.servers.start(argv, name="another-worker", env=environment, cwd=world.folder)
    time.sleep(_AMIDST_SECONDS)
    try:
        return killed(desk, anew=False)
    finally:
        os.kill(other, signal.SIGTERM)
        world.begin("notify-worker")


def table(runs: dict[str, Sequence[Run]]) -> Table:
    def row(name: str, of: Sequence[Run]) -> list[str]:
        figures: list[Callable[[Run], Any]] = [
            lambda run: run.mails,
            lambda run: run.rows,
        ]
        whole: list[Callable[[Run], Any]] = [lambda run: run.held, lambda run: run.unknown, lambda run: run.wrong]
        spreads = [spread([figure(run) for run in of]) for figure in figures]
        return [name, *spreads, *(spread([figure(run) for run in of], 0) for figure in whole)]

    head = ["the worker is killed, and", "s until mails go on", "s until its rows move", "rows it had", "in doubt"]
    return Table([*head, "twice or lost"], [row(name, of) for name, of in runs.items()])


def measure(desk: Desk, options: Options) -> Part:
    print("notify: workers that die")
    beside, anew = [], []
    for number in range(min(_MOST_ROUNDS, options.rounds)):
        beside.append(beside_another(desk))
        anew.append(killed(desk, anew=True))
        print(f"  round {number + 1}  another worker: {beside[-1]}  started anew: {anew[-1]}")
    every = [*beside, *anew]
    return Part(
        outcomes=[
            Outcome(NG7, [run.rows for run in beside]),
            Outcome(NG7_ALONE, [run.rows for run in anew]),
            Outcome(NG7_DOUBT, [run.unknown / CONNECTIONS for run in every]),
            Outcome(NG7_WRONG, [run.wrong for run in every]),
        ],
        figures=[
            (
                f"kill -9 in the middle of a campaign to {_RECIPIENTS:,}, over {CONNECTIONS} connections:",
                table({"another worker runs": beside, "it is started anew": anew}),
            )
        ],
        notes=[
            "What a killed worker had taken waits for the end of its lease of ten seconds; everything else goes on with"
            " the next worker. arq gives a job of a dead worker to another after 310 seconds, by its own defaults"
            " (`job_timeout` 300 s and 10 s more); that was read, not measured."
        ],
    )
