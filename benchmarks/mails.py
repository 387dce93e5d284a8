"""Mails with a row for each recipient: all accepted first, then the worker is let go."""

import os
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import peers
from benchmarks.desk import Celery, Desk, go_on, stand_still, states
from benchmarks.harness import LoadFailed, Options, Sample, Subject, alternate, run_load
from benchmarks.report import Part, figures
from benchmarks.stats import Goal, Outcome, pair_ratios

NG1 = Goal("notify NG1", "mails/s of one worker with a row each, beside Celery and Django on two processes", least=20)
NG1_CPU = Goal("notify NG1", "CPU per mail of Celery and Django beside ours", least=25)
NG2 = Goal("notify NG2", "CPU per mail of the worker beside a program in Go that only renders and sends", most=1.5)
NG2_WALL = Goal("notify NG2", "its mails/s beside that program's", least=0.7)
NG3 = Goal("notify NG3", "mails/s beside listmonk with its defaults", least=20)
_OURS, _PEER = 20_000, 1_000
_PATIENCE_SECONDS = 120


def drained(desk: Desk, worker: int, count: int, begin: Callable[[], None]) -> Sample:
    plan = {"control": desk.control, "count": count, "patience": _PATIENCE_SECONDS}
    parts = {"service": [worker], "databases": desk.world.databases}
    cores = desk.world.cores.others
    answer, used = run_load("benchmarks.load.mails", plan, cores=cores, parts=parts, on_begin=begin)
    return Sample.of(answer, used)


def ours(desk: Desk, count: int) -> Sample:
    stand_still(desk.worker)
    batches = desk.order(count)
    sample = drained(desk, desk.worker, count, partial(go_on, desk.worker))
    # The last verdicts come behind the last mails.
    for _ in range(50):
        found = states(desk, batches)
        if found == {"sent": count}:
            return sample
        time.sleep(0.1)
    raise LoadFailed(f"not all are sent: {found}")


def sent_by(desk: Desk, program: Path, count: int) -> Sample:
    """One core, as ours has; it stays until its CPU time has been read."""
    command = [str(program), str(desk.smtp), str(count)]
    environment = {**os.environ, "GOMAXPROCS": "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, text=True) as process:
        stdin = process.stdin
        assert stdin is not None

        def begin() -> None:
            stdin.write("\n")
            stdin.flush()

        return drained(desk, process.pid, count, begin)


def measure(desk: Desk, options: Options) -> Part:
    print("notify: mails")
    celery = Celery(desk)
    worker = celery.worker()
    few = 10 if options.quick else 1

    def theirs() -> Sample:
        stand_still(worker)
        celery.run("django_notify.enqueue", str(_PEER // few))
        return drained(desk, worker, _PEER // few, partial(go_on, worker))

    program = peers.go_program("go_smtp")
    us = Subject("Parley, one worker", lambda: ours(desk, _OURS // few))
    peer = Subject("Celery + Django, two processes", theirs)
    go = [Subject("Go, which only sends", lambda: sent_by(desk, program, _OURS // few))] if program else []
    alternate([us, peer, *go], options)
    stand_still(worker)

    def micros(subject: Subject) -> list[float]:
        return subject.all(lambda sample: sample.micros("service"))

    def rates(subject: Subject) -> list[float]:
        return subject.all(lambda sample: sample.rate)

    return Part(
        outcomes=[
            Outcome(NG1, pair_ratios(rates(us), rates(peer))),
            Outcome(NG1_CPU, pair_ratios(micros(peer), micros(us))),
            *(Outcome(NG2, pair_ratios(micros(us), micros(each))) for each in go),
            *(Outcome(NG2_WALL, pair_ratios(rates(us), rates(each))) for each in go),
            *(Outcome(goal, note=peers.missing("go")) for goal in (NG2, NG2_WALL) if not go),
            Outcome(NG3, note="nothing here fetches the modules of Go that it is built from"),
        ],
        figures=[
            (
                "Mails of text and HTML, accepted before, into a server that takes everything:",
                figures([us, peer, *go], operation="mail", parts=["service", "databases"]),
            )
        ],
        notes=[
            "Both keep their connections, render both parts for each recipient, and write state and attempt of each"
            " mail down. Ours checks suppressions, preferences, quiet hours and limits as well. Afterwards all rows of"
            " ours are `sent`.",
            "The program in Go renders the same mail with its standard library and sends it over ten kept connections"
            " on one core. It reads no queue and keeps no record: a killed one has lost both.",
        ],
    )
