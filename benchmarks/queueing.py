"""What the queue itself costs for each recipient, beside a job of arq that does nothing."""

from functools import partial

from benchmarks import peers
from benchmarks.desk import Desk, go_on, stand_still
from benchmarks.harness import Options, Sample, Subject, alternate, run_load
from benchmarks.report import Part, figures
from benchmarks.stats import Goal, Outcome, pair_ratios, percentile

NG6 = Goal("notify NG6", "CPU us of the worker to claim, mark and settle a recipient", most=10)
NG6_PEER = Goal("notify NG6", "CPU per job of a hurried worker of arq beside it", least=40)
NG6_WHOLE = Goal("notify NG6", "the same beside all that our sender does for a recipient", least=40)
_OURS, _PEER = 20_000, 5_000


class Arq:
    """A worker of it, with nothing to do yet."""

    def __init__(self, desk: Desk, which: str) -> None:
        self.world = desk.world
        self.python = peers.python("arq_jobs")
        self.env = {"PEER_REDIS_URL": self.world.valkey.url}
        argv = [str(self.python), "-m", "arq", f"arq_jobs.jobs.{which}"]
        self.pid = self.world.servers.start(argv, name=f"arq-{which.lower()}", env=self.env, cwd=peers.FOLDER)

    def sample(self, plan: dict[str, float]) -> Sample:
        """With `count`: so many jobs, all there before the first is begun. Else jobs at a pace."""
        if "count" in plan:
            stand_still(self.pid)
        answer, used = run_load(
            "arq_jobs.load",
            {"redis": self.world.valkey.url, **plan},
            cores=self.world.cores.others,
            parts={"service": [self.pid], "databases": self.world.databases},
            on_begin=partial(go_on, self.pid),
            python=self.python,
            cwd=peers.FOLDER,
        )
        times = {"p50": percentile(answer["taken"], 0.5), "p99": percentile(answer["taken"], 0.99)}
        return Sample.of({**answer, **times}, used).checked("arq")


def emptied(desk: Desk, count: int, *, whole: bool) -> Sample:
    desk.order(count, "silent")
    keys = desk.world.stack.env("notify-worker")["PARLEY_FIELD_KEYS"]
    plan = {"database": desk.database, "account": "silent", "count": count, "keys": keys, "whole": whole}
    parts = {"databases": desk.world.databases}
    answer, used = run_load("benchmarks.load.queueing", plan, cores=desk.world.cores.others, parts=parts, itself=True)
    return Sample.of(answer, used).checked("queueing")


def measure(desk: Desk, options: Options) -> Part:
    print("notify: queueing")
    few = 10 if options.quick else 1
    arq = Arq(desk, "Hurried")
    # Ours must not send for the account that the program sends for.
    stand_still(desk.worker)
    alone = Subject("Parley, claims, marks and verdicts", lambda: emptied(desk, _OURS // few, whole=False))
    sender = Subject("Parley, a whole sender", lambda: emptied(desk, _OURS // few, whole=True))
    peer = Subject("arq, a job", lambda: arq.sample({"count": _PEER // few}))
    try:
        alternate([alone, sender, peer], options)
    finally:
        go_on(desk.worker)
        stand_still(arq.pid)

    def micros(subject: Subject) -> list[float]:
        return subject.all(lambda sample: sample.micros("service"))

    return Part(
        outcomes=[
            Outcome(NG6, micros(alone)),
            Outcome(NG6_PEER, pair_ratios(micros(peer), micros(alone))),
            Outcome(NG6_WHOLE, pair_ratios(micros(peer), micros(sender))),
        ],
        figures=[
            (
                "A queue that is emptied into a provider which takes everything at once:",
                figures([alone, sender, peer], operation="recipient", parts=["service", "databases"]),
            )
        ],
        notes=[
            "Ours marks each recipient durably before its first byte and settles it afterwards; the whole sender also"
            " looks at suppressions, preferences, quiet hours and limits, fills the content and makes an unsubscribe"
            " link's room. arq's worker is given 100 jobs at a time, a poll each 10 ms and no results to keep.",
        ],
    )
