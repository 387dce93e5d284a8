"""Mails with a row for each recipient: all accepted first, then the worker is let go."""

import time

from benchmarks.desk import Celery, Desk, go_on, stand_still, states
from benchmarks.harness import LoadFailed, Options, Sample, Subject, alternate, run_load
from benchmarks.report import Part, figures
from benchmarks.stats import Goal, Outcome, pair_ratios

NG1 = Goal("notify NG1", "mails/s of one worker with a row each, beside Celery and Django on two processes", least=20)
NG1_CPU = Goal("notify NG1", "CPU per mail of Celery and Django beside ours", least=25)
_OURS, _PEER = 20_000, 1_000
_PATIENCE_SECONDS = 120


def drained(desk: Desk, worker: int, count: int) -> Sample:
    plan = {"control": desk.control, "count": count, "patience": _PATIENCE_SECONDS}
    parts = {"service": [worker], "databases": desk.world.databases}
    cores = desk.world.cores.others
    answer, used = run_load("benchmarks.load.mails", plan, cores=cores, parts=parts, on_begin=lambda: go_on(worker))
    return Sample.of(answer, used)


def ours(desk: Desk, count: int) -> Sample:
    stand_still(desk.worker)
    batches = desk.order(count)
    sample = drained(desk, desk.worker, count)
    # The last verdicts come behind the last mails.
    for _ in range(50):
        found = states(desk, batches)
        if found == {"sent": count}:
            return sample
        time.sleep(0.1)
    raise LoadFailed(f"not all are sent: {found}")


def measure(desk: Desk, options: Options) -> Part:
    print("notify: mails")
    celery = Celery(desk)
    worker = celery.worker()
    few = 10 if options.quick else 1

    def theirs() -> Sample:
        stand_still(worker)
        celery.run("django_notify.enqueue", str(_PEER // few))
        return drained(desk, worker, _PEER // few)

    us = Subject("Parley, one worker", lambda: ours(desk, _OURS // few))
    peer = Subject("Celery + Django, two processes", theirs)
    alternate([us, peer], options)
    stand_still(worker)

    def micros(subject: Subject) -> list[float]:
        return subject.all(lambda sample: sample.micros("service"))

    rates = [subject.all(lambda sample: sample.rate) for subject in (us, peer)]
    return Part(
        outcomes=[Outcome(NG1, pair_ratios(*rates)), Outcome(NG1_CPU, pair_ratios(micros(peer), micros(us)))],
        figures=[
            (
                "Mails of text and HTML, accepted before, into a server that takes everything:",
                figures([us, peer], operation="mail", parts=["service", "databases"]),
            )
        ],
        notes=[
            "Both keep their connections, render both parts for each recipient, and write state and attempt of each"
            " mail down. Ours checks suppressions, preferences, quiet hours and limits as well. Afterwards all rows of"
            " ours are `sent`.",
        ],
    )
