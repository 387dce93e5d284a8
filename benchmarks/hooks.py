"""Webhooks of a provider: proved, stored, and only then answered."""

from benchmarks.desk import HOOK_SECRET, NUMBER, Celery, Desk
from benchmarks.harness import Options, Sample, Subject, alternate, run_load
from benchmarks.processes import HOST
from benchmarks.report import Part, figures
from benchmarks.stats import Goal, Outcome, pair_ratios

NG4 = Goal("notify NG4", "stored webhooks/s of one process, beside Django and gunicorn with two", least=8)
NG4_CPU = Goal("notify NG4", "CPU per webhook of Django and gunicorn beside ours", least=8)
_CONNECTIONS = 64


def measure(desk: Desk, options: Options) -> Part:
    print("notify: webhooks")
    world = desk.world
    port, gunicorn = Celery(desk).web()

    def told(port: int, pid: int) -> Sample:
        plan = {
            "host": HOST,
            "port": port,
            "path": "/hooks/whatsapp/wa",
            "number": NUMBER,
            "secret": HOOK_SECRET,
            "connections": _CONNECTIONS,
            "warmup": 1.0,
            "seconds": options.seconds,
        }
        parts = {"service": [pid], "databases": world.databases}
        answer, used = run_load("benchmarks.load.hooks", plan, cores=world.cores.others, parts=parts)
        return Sample.of(answer, used).checked("webhooks")

    us = Subject("Parley, one process", lambda: told(world.port("notify"), world.pid("notify")))
    peer = Subject("Django + gunicorn, two processes", lambda: told(port, gunicorn))
    alternate([us, peer], options)

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
        notes=["The load generator shares the cores with both sides, and with ours it takes the larger part of them."],
    )
