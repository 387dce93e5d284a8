"""Open sockets: what one weighs, what a second of doing nothing costs, and how fast they are opened."""

from typing import Any

from benchmarks import cpu
from benchmarks.harness import LoadFailed, Options, Sample, Subject, alternate, run_load
from benchmarks.processes import HOST
from benchmarks.report import Part, Table, spread
from benchmarks.sides import Side
from benchmarks.stats import Goal, Outcome, pair_ratios

SOCKETS = 2000
MANY = 10_000
AT_ONCE = 50

P9_RAW = Goal("chat P9", f"memory of an idle socket ({SOCKETS} of them) beside raw uvicorn", most=1.3)
P9_PEER = Goal("chat P9", "the same beside Channels", most=1.0)
P9_MANY = Goal("chat P9", f"the same with {MANY} sockets on one process, beside raw uvicorn with {SOCKETS}", most=1.3)
P10_RAW = Goal("chat P10", "connects/s with token and resume, beside raw uvicorn, which asks for nothing", least=0.4)
P10_PEER = Goal("chat P10", "the same beside Channels, which asks for nothing", least=1.0)
P17 = Goal("chat P17", f"CPU us a second and idle socket, {SOCKETS} sockets", most=20)


class Idle:
    def __init__(
        self, side: Side, sockets: int, seconds: float, empty: dict[str, float], *, may_close: float = 0.0
    ) -> None:
        """`empty`: what each side weighed before its first socket; a process keeps what it once had, so it is weighed
        against that in every round. `may_close`: the share of sockets that the subject may lose."""
        self.empty = empty
        self.side = side
        self.sockets = sockets
        self.seconds = seconds
        self.may_close = may_close

    def __call__(self) -> Sample:
        """One operation is one socket; CPU time is that of the quiet seconds, `extra` has the bytes."""
        roots = self.side.server.pids[:1]
        seen: dict[str, tuple[float, float]] = {}

        def note(mark: str = "begin") -> None:
            seen[mark] = (cpu.resident(roots), cpu.seconds(roots))

        plan = {**plan_of(self.side), "what": "rest", "sockets": self.sockets, "settle": 2.0, "rest": self.seconds}
        answer, _ = run_load(
            "benchmarks.load.idle", plan, cores=self.side.world.cores.others, parts={}, on_begin=note, on_mark=note
        )
        closed = int(answer["closed"])
        if closed > self.may_close * self.sockets:
            raise LoadFailed(f"{self.side.name}: {closed} of {self.sockets} idle sockets were closed")
        left = self.sockets - closed
        weight = (seen["quiet"][0] - self.empty.setdefault(self.side.name, seen["begin"][0])) / left
        used = (seen["rested"][1] - seen["quiet"][1]) / answer["rested"] / left
        return Sample(left, answer["rested"], errors=closed, extra={"bytes": weight, "idle_us": used * 1e6})


def plan_of(side: Side) -> dict[str, Any]:
    return {
        "protocol": side.protocol,
        "host": HOST,
        "port": side.server.port,
        "path": side.plan.get("path"),
        "conversation": next(iter(side.conversations.values()), "idle"),
        "tokens": side.plan.get("listeners"),
    }


def connects(side: Side, seconds: float) -> Sample:
    plan = {**plan_of(side), "what": "connect", "at_once": AT_ONCE, "seconds": seconds, "resume": True}
    parts = {"service": side.server.pids[:1]}
    answer, used = run_load("benchmarks.load.idle", plan, cores=side.world.cores.others, parts=parts)
    return Sample.of(answer, used).checked(side.name)


def weight(sample: Sample) -> float:
    return sample.extra["bytes"]


def measure(found: dict[str, Side], options: Options) -> Part:
    seconds = 5.0 if options.quick else 30.0
    print(f"chat: {SOCKETS} idle sockets")
    # Daphne gives up some of its sockets when it is busy with the others; ours keeps all of them.
    lost = {"ours": 0.0, "raw": 0.0}
    empty: dict[str, float] = {}
    idle = {
        key: Subject(side.name, Idle(side, SOCKETS, seconds, empty, may_close=lost.get(key, 0.01)))
        for key, side in found.items()
    }
    # Silence is the same every time, and half a minute of it is long: two rounds are enough for it.
    few = Options(min(2, options.rounds), quick=options.quick, max_load=options.max_load)
    alternate(list(idle.values()), few)
    many = Subject(f"{found['ours'].name}, {MANY} sockets", Idle(found["ours"], MANY, 1.0, empty))
    alternate([many], Options(1, quick=options.quick))
    print("chat: connects")
    visits = {key: Subject(side.name, lambda side=side: connects(side, options.seconds)) for key, side in found.items()}  # type: ignore[misc]
    alternate(list(visits.values()), options)
    ours, raw, peer = (idle[key].all(weight) for key in ("ours", "raw", "pubsub"))
    rate = {key: subject.all(lambda sample: sample.rate) for key, subject in visits.items()}
    table = Table(["subject", "KiB/socket", "us CPU/s and idle socket", "connects/s", "p50 ms", "p99 ms"])
    for key, subject in idle.items():
        table.rows.append(
            [
                subject.name,
                spread([w / 1024 for w in subject.all(weight)], 1),
                spread(subject.all(lambda sample: sample.extra["idle_us"]), 1),
                spread(rate[key], 0),
                spread(visits[key].all(lambda sample: sample.p50)),
                spread(visits[key].all(lambda sample: sample.p99)),
            ]
        )
    table.rows.append([many.name, spread([w / 1024 for w in many.all(weight)], 1), "", "", "", ""])
    return Part(
        outcomes=[
            Outcome(P9_RAW, pair_ratios(ours, raw)),
            Outcome(P9_PEER, pair_ratios(ours, peer)),
            Outcome(P9_MANY, pair_ratios(many.all(weight), raw[:1])),
            Outcome(P10_RAW, pair_ratios(rate["ours"], rate["raw"])),
            Outcome(P10_PEER, pair_ratios(rate["ours"], rate["pubsub"])),
            Outcome(P17, idle["ours"].all(lambda sample: sample.extra["idle_us"])),
        ],
        figures=[(f"{SOCKETS} idle sockets; {AT_ONCE} clients that connect and leave:", table)],
        notes=[
            "Memory is the proportional set size of the process, before the first socket and with all of them open."
        ],
    )
