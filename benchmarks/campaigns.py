"""100,000 recipients, from a file to a finished report; and how soon a pause is one."""

import io
import time
import uuid
from dataclasses import dataclass

from benchmarks import cpu
from benchmarks.desk import CONTENT, Desk
from benchmarks.harness import LoadFailed, Options
from benchmarks.report import Part, Table, spread
from benchmarks.stats import Goal, Outcome

NG11 = Goal("notify NG11", "seconds from asking for a pause until the last mail of the campaign", most=1)
NG12 = Goal("notify NG12", "seconds to make a delivery for each of 100,000 recipients", most=2)
NG13 = Goal("notify NG13", "MiB that the worker holds at most meanwhile", most=150)
_RECIPIENTS = 100_000
# More than can have left before it is paused.
_PAUSED = 10_000
_PATIENCE_SECONDS = 300
_DELAY_SECONDS = 0.02
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Run:
    """In seconds; `mebibytes` of the worker's memory."""

    file: float
    snapshot: float
    sending: float
    mebibytes: float

    @property
    def whole(self) -> float:
        return self.file + self.snapshot + self.sending


def drafted(desk: Desk, recipients: int) -> tuple[str, float]:
    """A campaign that can be started, and how long its file took."""
    audience = desk.call("POST", "/audiences", {"name": f"bench {uuid.uuid4().hex}", "channel": "email"})["id"]
    file = io.StringIO()
    file.write("email,name,order\n")
    file.writelines(f"{uuid.uuid4().hex}@example.com,Ada,A-{number}\n" for number in range(recipients))
    began = time.perf_counter()
    report = desk.upload(f"/audiences/{audience}/file", file.getvalue().encode())["audience"]
    taken = time.perf_counter() - began
    if report["valid"] != recipients:
        raise LoadFailed(f"{report['valid']} of {recipients} recipients are valid")
    given = {"name": "bench", "channel": "email", "account": "shop", "content": CONTENT, "audience": audience}
    return desk.call("POST", "/campaigns", given)["id"], taken


def finished(desk: Desk, recipients: int) -> Run:
    campaign, file = drafted(desk, recipients)
    began = time.perf_counter()
    desk.call("POST", f"/campaigns/{campaign}/start")
    started = time.perf_counter()
    most = 0
    while (found := desk.call("GET", f"/campaigns/{campaign}"))["state"] != "finished":
        most = max(most, cpu.resident([desk.worker]))
        time.sleep(0.2)
        if time.perf_counter() - started > _PATIENCE_SECONDS:
            raise LoadFailed(f"not finished: {found['counts']}")
    if found["counts"] != {"sent": recipients}:
        raise LoadFailed(f"not all are sent: {found['counts']}")
    return Run(file, started - began, time.perf_counter() - started, most / _MIB)


def paused(desk: Desk, recipients: int) -> float:
    """Seconds from asking until the last mail."""
    campaign, _ = drafted(desk, recipients)
    desk.take(_DELAY_SECONDS)
    desk.call("POST", f"/campaigns/{campaign}/start")
    time.sleep(2)
    asked = time.monotonic()
    desk.call("POST", f"/campaigns/{campaign}/pause")
    time.sleep(2)
    last: float = desk.take(0.0)["last"]
    desk.call("POST", f"/campaigns/{campaign}/cancel")
    return max(0.0, last - asked)


def measure(desk: Desk, options: Options) -> Part:
    print("notify: campaigns")
    recipients = _RECIPIENTS // (20 if options.quick else 1)
    runs, pauses = [], []
    for number in range(options.rounds):
        runs.append(finished(desk, recipients))
        pauses.append(paused(desk, _PAUSED))
        print(f"  round {number + 1}/{options.rounds}  {runs[-1].whole:.1f} s, paused in {pauses[-1]:.2f} s")
    table = Table(["step", "seconds"])
    steps = {"file read, checked and stored": "file", "snapshot": "snapshot", "sent, and counted": "sending"}
    for name, field in {**steps, "whole": "whole"}.items():
        table.rows.append([name, spread([getattr(run, field) for run in runs])])
    return Part(
        outcomes=[
            Outcome(NG11, pauses),
            Outcome(NG12, [run.snapshot for run in runs]),
            Outcome(NG13, [run.mebibytes for run in runs]),
        ],
        figures=[(f"A campaign to {recipients:,} of a CSV file, from the upload to the finished report:", table)],
    )
