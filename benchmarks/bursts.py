"""Many messages at once: until the last delivery, with a reader that hangs, and over two processes."""

import threading
from collections.abc import Sequence

from benchmarks import cpu
from benchmarks.harness import Options, Sample, Subject, alternate
from benchmarks.report import Part, figures, spread
from benchmarks.sides import LISTENERS_OF_FANOUT, SUBSCRIBERS, Load, Side
from benchmarks.stats import Goal, Outcome, pair_ratios

BURST = 2000
BURST_OF_PEER = 500
MIB = 1 << 20

P4_LOST = Goal(
    "chat P4", f"lost of {BURST} messages at once to {LISTENERS_OF_FANOUT} sockets, one of them hanging", most=0
)
P4_MEMORY = Goal("chat P4", "MiB that the process grows by meanwhile, at most", most=64)
P5 = Goal("chat P5", f"messages/s of a burst until the last of {SUBSCRIBERS} sockets has it, beside Channels", least=20)
P16 = Goal("chat P16", "thousand deliveries per CPU second of the service in a burst", least=50)
P18 = Goal("chat P18", "CPU per delivery with two processes beside one", most=1.25)


class Stalled:
    """The hanging reader comes on top of those that are counted."""

    def __init__(self, side: Side) -> None:
        self.side = side

    def __call__(self) -> Sample:
        load = Load.burst(BURST, subscribers=LISTENERS_OF_FANOUT, stalled=1, apart=True)
        with Peak(self.side.server.pids[:1]) as peak:
            sample = self.side.measure(load)
        sample.extra["grown"] = peak.grown
        return sample


class Peak:
    """The most memory that processes have while it looks, ten times a second."""

    def __init__(self, roots: Sequence[int]) -> None:
        self._roots = roots
        self._before = cpu.resident(roots)
        self._most = self._before
        self._over = threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Peak":
        self._looking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._looking.join()

    @property
    def grown(self) -> int:
        return self._most - self._before

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self._most = max(self._most, cpu.resident(self._roots))


def measure(found: dict[str, Side], options: Options) -> Part:
    ours, peer = found["ours"], found["pubsub"]
    print(f"chat: {BURST} messages at once")
    burst = Subject(ours.name, lambda: ours.measure(Load.burst(BURST)))
    burst_of_peer = Subject(peer.name, lambda: peer.measure(Load.burst(BURST_OF_PEER)))
    alternate([burst, burst_of_peer], options)
    print("chat: the same with a reader that hangs")
    stalled = Subject(f"{ours.name}, a reader hangs", Stalled(ours))
    alternate([stalled], options)
    print("chat: one process and two, 200 messages/s to 100 sockets")
    shared = Load(200, options.seconds, subscribers=LISTENERS_OF_FANOUT)
    single = Subject(f"{ours.name}, one process", lambda: ours.measure(shared))
    two = Load(200, options.seconds, subscribers=LISTENERS_OF_FANOUT, spread=True)
    double = Subject(f"{ours.name}, two processes", lambda: ours.measure(two))
    alternate([single, double], options)

    def service(sample: Sample) -> float:
        return sample.micros("service")

    grown = [g / MIB for g in stalled.all(lambda sample: sample.extra["grown"])]
    return Part(
        outcomes=[
            Outcome(P4_LOST, stalled.all(lambda sample: sample.errors)),
            Outcome(P4_MEMORY, grown),
            # Deliveries a second over the same number of sockets compare as messages a second do.
            Outcome(P5, pair_ratios(burst.all(lambda s: s.rate), burst_of_peer.all(lambda s: s.rate))),
            Outcome(P16, [1000 / service(sample) for sample in burst.samples]),
            Outcome(P18, pair_ratios(double.all(service), single.all(service))),
        ],
        figures=[
            (
                f"{BURST} messages at once ({BURST_OF_PEER} for Channels), until the last delivery:",
                figures([burst, burst_of_peer, stalled], operation="delivery", parts=["service"]),
            ),
            (
                f"200 messages/s to {LISTENERS_OF_FANOUT} sockets, at one process and at two:",
                figures([single, double], operation="delivery", parts=["service"]),
            ),
        ],
        notes=[
            f"With a hanging reader the process grew by {spread(grown, 1)} MiB.",
            "Channels is given a quarter of the burst: of 2,000 messages at once its last comes after half a minute.",
        ],
    )
