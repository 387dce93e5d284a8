"""Webhooks of a provider: proved, stored, and only then answered."""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import asyncpg

from benchmarks import cpu, peers
from benchmarks.desk import HOOK_SECRET, NUMBER, Celery, Desk, go_on, stand_still
from benchmarks.harness import Options, Sample, Subject, alternate
from benchmarks.load.hooks import signed
from benchmarks.processes import HOST
from benchmarks.report import Part, figures
from benchmarks.stats import Goal, Outcome, pair_ratios

NG4 = Goal("notify NG4", "stored webhooks/s of one process, beside Django and gunicorn with two", least=8)
NG4_CPU = Goal("notify NG4", "CPU per webhook of Django and gunicorn beside ours", least=8)
_CONNECTIONS = 64
_PATH = "/hooks/whatsapp/wa"
_WARM_SECONDS = 1.0
# More than anybody takes.
_MOST_A_SECOND = 12_000
_LOAD = Path(__file__).parent / "load"


def fire(port: int, seconds: float) -> dict[str, float]:
    """By wrk, for a client in Python would take more of the cores than who answers it."""
    first = time.time_ns()
    with tempfile.NamedTemporaryFile("w") as file:
        for number in range(int(seconds * _MOST_A_SECOND)):
            file.write("\t".join(signed(NUMBER, HOOK_SECRET, first + number)) + "\n")
        file.flush()
        argv = [peers.program("wrk") or "wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{seconds:.0f}s"]
        environment = {**os.environ, "HOOKS": file.name, "REPORT": str(_LOAD / "wrk_report.lua")}
        command = [*argv, "-s", str(_LOAD / "wrk_hooks.lua"), f"http://{HOST}:{port}{_PATH}"]
        done = subprocess.run(command, capture_output=True, check=True, text=True, env=environment)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


async def _forget(desk: Desk) -> None:
    connection = await asyncpg.connect(desk.database)
    try:
        await connection.execute("TRUNCATE told")
    finally:
        await connection.close()


def measure(desk: Desk, options: Options) -> Part:
    print("notify: webhooks")
    if not peers.program("wrk"):
        return Part(outcomes=[Outcome(goal, note=peers.missing("wrk")) for goal in (NG4, NG4_CPU)])
    world = desk.world
    port, gunicorn = Celery(desk).web()

    def told(port: int, pid: int) -> Sample:
        parts = {"service": [pid], "databases": world.databases}
        fire(port, _WARM_SECONDS)
        before = {name: cpu.seconds(pids) for name, pids in parts.items()}
        answer = fire(port, options.seconds)
        used = {name: cpu.seconds(pids) - before[name] for name, pids in parts.items()}
        return Sample.of(answer, used).checked("webhooks")

    # Taking is measured alone; for messages that nobody sent it would look for minutes.
    stand_still(desk.worker)
    us = Subject("Parley, one process", lambda: told(world.port("notify"), world.pid("notify")))
    peer = Subject("Django + gunicorn, two processes", lambda: told(port, gunicorn))
    try:
        alternate([us, peer], options)
        world.servers.run(_forget(desk))
    finally:
        go_on(desk.worker)

    def micros(subject: Subject) -> list[float]:
        return subject.all(lambda sample: sample.micros("service"))

    rates = [subject.all(lambda sample: sample.rate) for subject in (us, peer)]
    return Part(
        outcomes=[Outcome(NG4, pair_ratios(*rates)), Outcome(NG4_CPU, pair_ratios(micros(peer), micros(us)))],
        figures=[
            (
                f"Webhooks with one status each, {_CONNECTIONS} connections:",
                figures([us, peer], operation="webhook", parts=["service", "databases"]),
            )
        ],
        notes=[
            "The worker stands still. One process of ours has one core of two, gunicorn's both, as far as the database"
            " and wrk leave them. The webhooks are signed before."
        ],
    )
