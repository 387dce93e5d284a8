"""Codes that somebody waits for, while a campaign to 100,000 leaves: by the same account, and by another."""

from benchmarks.desk import CONTENT, Desk
from benchmarks.harness import Options, Sample, Subject, alternate, run_load
from benchmarks.processes import HOST
from benchmarks.report import Part, figures
from benchmarks.stats import Goal, Outcome, pair_ratios

NG8 = Goal("notify NG8", "ms (p99) until a code has arrived, during a campaign on the same account", most=1000)
NG8_IDLE = Goal("notify NG8", "the same by another account, beside what it takes when nothing else is sent", most=1.2)
_CAMPAIGN = 100_000
_RATE = 20
# As long as a provider takes for a mail; all connections of an account send 320 a second then.
_DELAY_SECONDS = 0.1


def codes(desk: Desk, account: str, options: Options) -> Sample:
    plan = {
        "host": HOST,
        "port": desk.world.port("notify"),
        "control": desk.control,
        "headers": desk.headers,
        "body": {
            "channel": "email",
            "account": account,
            "priority": "high",
            "category": "security",
            "content": {**CONTENT, "subject": "Your code", "text": "It is 123456.", "html": None},
        },
        "rate": _RATE,
        "seconds": options.seconds,
        "delay": _DELAY_SECONDS,
    }
    parts = {"service": [desk.worker], "databases": desk.world.databases}
    answer, used = run_load("benchmarks.load.codes", plan, cores=desk.world.cores.others, parts=parts)
    return Sample.of(answer, used).checked("codes")


def measure(desk: Desk, options: Options) -> Part:
    print("notify: codes during a campaign")

    desk.take(_DELAY_SECONDS)

    def crowded(account: str) -> Sample:
        batches = desk.order(_CAMPAIGN // (10 if options.quick else 1))
        try:
            return codes(desk, account, options)
        finally:
            for batch in batches:
                desk.call("POST", f"/deliveries/batches/{batch}/cancel")

    quiet = Subject("nothing else is sent", lambda: codes(desk, "urgent", options))
    during = Subject(f"during a campaign to {_CAMPAIGN:,}", lambda: crowded("shop"))
    beside = Subject("the same, by another account", lambda: crowded("urgent"))
    codes(desk, "urgent", options)
    alternate([quiet, during, beside], options)
    idle, same, other = (subject.all(lambda sample: sample.p99) for subject in (quiet, during, beside))
    return Part(
        outcomes=[Outcome(NG8, same), Outcome(NG8_IDLE, pair_ratios(other, idle))],
        figures=[
            (
                f"Codes, {_RATE} a second, from the request until the mail server has them;"
                f" it takes {_DELAY_SECONDS * 1000:.0f} ms for each mail:",
                figures([quiet, during, beside], operation="code", timed=False),
            )
        ],
    )
