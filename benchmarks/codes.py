"""Codes that somebody waits for, while a campaign to 100,000 leaves by the same account."""

from benchmarks.desk import CONTENT, Desk
from benchmarks.harness import Options, Sample, Subject, alternate, run_load
from benchmarks.processes import HOST
from benchmarks.report import Part, figures
from benchmarks.stats import Goal, Outcome, pair_ratios

NG8 = Goal("notify NG8", "ms (p99) until a code has arrived, during a campaign on the same account", most=1000)
NG8_IDLE = Goal("notify NG8", "the same beside what it takes when nothing else is sent", most=1.2)
_CAMPAIGN = 100_000
_RATE = 20
# As long as a provider takes for a mail; four connections send 200 a second then.
_DELAY_SECONDS = 0.02


def codes(desk: Desk, options: Options) -> Sample:
    plan = {
        "host": HOST,
        "port": desk.world.port("notify"),
        "control": desk.control,
        "headers": desk.headers,
        "body": {
            "channel": "email",
            "account": "shop",
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

    def crowded() -> Sample:
        batches = desk.order(_CAMPAIGN // (10 if options.quick else 1))
        try:
            return codes(desk, options)
        finally:
            for batch in batches:
                desk.call("POST", f"/deliveries/batches/{batch}/cancel")

    quiet = Subject("nothing else is sent", lambda: codes(desk, options))
    during = Subject(f"during a campaign to {_CAMPAIGN:,}", crowded)
    codes(desk, options)
    alternate([quiet, during], options)
    late = [subject.all(lambda sample: sample.p99) for subject in (during, quiet)]
    return Part(
        outcomes=[Outcome(NG8, late[0]), Outcome(NG8_IDLE, pair_ratios(*late))],
        figures=[
            (
                f"Codes, {_RATE} a second, from the request until the mail server has them;"
                f" it takes {_DELAY_SECONDS * 1000:.0f} ms for each mail:",
                figures([quiet, during], operation="code", timed=False),
            )
        ],
    )
