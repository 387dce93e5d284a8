"""A question over a socket that needs nothing: what parsing, dispatch and answering cost above a bare echo."""

from benchmarks.harness import Options, Sample, Subject, alternate, run_load
from benchmarks.idling import plan_of
from benchmarks.report import Part, figures
from benchmarks.sides import Side
from benchmarks.stats import Goal, Outcome, pair_ratios

SOCKETS = 20

P15 = Goal("chat P15", "CPU of an operation (ping) beside an echo of raw uvicorn", most=2)


def echo(side: Side, seconds: float) -> Sample:
    plan = {**plan_of(side), "sockets": SOCKETS, "seconds": seconds}
    answer, used = run_load(
        "benchmarks.load.echo", plan, cores=side.world.cores.others, parts={"service": side.server.pids[:1]}
    )
    return Sample(answer["operations"], answer["wall"], cpu=used, p50=answer["p50"], p99=answer["p99"])


def measure(found: dict[str, Side], options: Options) -> Part:
    print("chat: echoes")
    ours = Subject(found["ours"].name, lambda: echo(found["ours"], options.seconds))
    raw = Subject(found["raw"].name, lambda: echo(found["raw"], options.seconds))
    alternate([raw, ours], options)
    return Part(
        outcomes=[Outcome(P15, pair_ratios(ours.all(Sample.micros), raw.all(Sample.micros)))],
        figures=[(f"{SOCKETS} sockets, one question after the other:", figures([raw, ours], operation="answer"))],
    )
