"""Notifications in the app: accepted, stored, and on the reader's open socket; beside how soon arq begins a job."""

from typing import Any

from benchmarks.desk import Desk
from benchmarks.harness import Options, Sample, Subject, alternate, run_load
from benchmarks.processes import HOST
from benchmarks.queueing import Arq
from benchmarks.report import Part, figures
from benchmarks.stats import Goal, Outcome, pair_ratios

NG5 = Goal("notify NG5", "ms (p50) from asking for a notification until its reader's socket has it, 200/s", most=10)
NG5_LATE = Goal("notify NG5", "the same, p99", most=100)
NG5_PEER = Goal("notify NG5", "p50 until arq begins a job, with its defaults, beside ours", least=10)
NG5_SENT = Goal(
    "notify NG5", "ms (p50) the same for a delivery over `inapp`, which the worker takes from the queue", most=10
)
NG5_SENT_LATE = Goal("notify NG5", "the same, p99", most=100)
NG5_SENT_PEER = Goal("notify NG5", "p50 until arq begins a job beside it", least=10)
_READERS = 40
_RATE = 200
# More than its defaults begin: a hundred jobs each half a second.
_PEER_RATE = 50


class Inbox:
    def __init__(self, desk: Desk) -> None:
        people = desk.world.register(_READERS)
        self.desk = desk
        self.users = [person.id for person in people]
        self.tokens = [desk.world.token(person.id) for person in people]

    def sample(self, options: Options, to: str, body: dict[str, Any]) -> Sample:
        world = self.desk.world
        plan = {
            "host": HOST,
            "port": world.port("chat"),
            "path": "/ws/",
            "tokens": self.tokens,
            "users": self.users,
            "notify": world.port("notify"),
            "headers": self.desk.headers,
            "to": to,
            "body": body,
            "rate": _RATE,
            "warmup": 1.0,
            "seconds": options.seconds,
        }
        services = [world.pid("notify"), world.pid("notify-worker"), world.pid("chat")]
        parts = {"service": services, "databases": world.databases}
        answer, used = run_load("benchmarks.load.inapp", plan, cores=world.cores.others, parts=parts)
        return Sample.of(answer, used).checked("inapp")


def measure(desk: Desk, options: Options) -> Part:
    print("notify: in the app")
    arq = Arq(desk, "Usual")
    inbox = Inbox(desk)
    note = {"user": "READER", "title": "NAME", "message": "Your parcel is here."}
    told = Subject("Parley, a notification", lambda: inbox.sample(options, "/api/v1/notifications", note))
    body: dict[str, Any] = {"channel": "inapp", "to": [{"user": "READER"}], "category": "orders"}
    body["content"] = {"subject": "NAME", "text": "Your parcel is here."}
    sent = Subject("Parley, a delivery", lambda: inbox.sample(options, "/api/v1/deliveries", body))
    peer = Subject(f"arq, {_PEER_RATE} jobs/s", lambda: arq.sample({"rate": _PEER_RATE, "seconds": options.seconds}))
    with desk.world.beside("chat"):
        alternate([told, sent, peer], options)
    p50 = {subject.name: subject.all(lambda sample: sample.p50) for subject in (told, sent, peer)}
    return Part(
        outcomes=[
            Outcome(NG5, p50[told.name]),
            Outcome(NG5_LATE, told.all(lambda sample: sample.p99)),
            Outcome(NG5_PEER, pair_ratios(p50[peer.name], p50[told.name])),
            Outcome(NG5_SENT, p50[sent.name]),
            Outcome(NG5_SENT_LATE, sent.all(lambda sample: sample.p99)),
            Outcome(NG5_SENT_PEER, pair_ratios(p50[peer.name], p50[sent.name])),
        ],
        figures=[
            (
                f"Notifications for {_READERS} people with open sockets, {_RATE} a second:",
                figures([told, sent, peer], operation="message", parts=["service", "databases"]),
            )
        ],
        notes=[
            "From the time at which the request is due until the frame has come, through notify, PostgreSQL, Valkey and"
            f" chat. arq is asked for {_PEER_RATE} jobs a second, because its defaults begin no more than 200.",
        ],
    )
