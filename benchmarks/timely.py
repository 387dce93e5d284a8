"""What is promised with a time in it: ten thousand accepted at once, webhooks at an even thousand a second, and one
owner's message behind a million of another's."""

import time
import uuid

from benchmarks.desk import CONTENT, HOOK_SECRET, NUMBER, Desk
from benchmarks.harness import Options, Sample, Subject, alternate, run_load
from benchmarks.processes import HOST
from benchmarks.report import Part, figures
from benchmarks.stats import Goal, Outcome
from benchmarks.world import TOKEN_SECONDS
from libs.keys import KeyRing
from libs.testing.tokens import access_claims, access_token

N4 = Goal("notify N4", "seconds until ten thousand recipients are accepted", most=1)
N33 = Goal("notify N33", "ms (p99) until a webhook is stored and answered, at 1,000 a second", most=250)
N54 = Goal("notify N54", "seconds (p99) until a mail has arrived, behind a million of another owner's", most=2)
_RECIPIENTS = 10_000
_WEBHOOKS_A_SECOND, _CONNECTIONS = 1000, 64
_CROWD = 1_000_000
_MAILS_A_SECOND = 10
# As long as a provider takes for a mail.
_DELAY_SECONDS = 0.02


def measure(desk: Desk, options: Options) -> Part:
    print("notify: promised times")
    few = 20 if options.quick else 1
    # Accepted, and held up in the mail server: none of it competes with what is measured.
    desk.take(_DELAY_SECONDS)
    seconds = [accepted(desk) for _ in range(options.rounds)]
    hooks = Subject(f"webhooks, {_WEBHOOKS_A_SECOND:,} a second", lambda: told(desk, options))
    alternate([hooks], options)
    batches = desk.order(_CROWD // few)
    mails = Subject(f"a mail behind {_CROWD // few:,}", lambda: overtaking(desk, options))
    alternate([mails], options)
    for batch in batches:
        desk.call("POST", f"/deliveries/batches/{batch}/cancel")
    desk.take(0.0)
    late = [ms / 1000 for ms in mails.all(lambda sample: sample.p99)]
    return Part(
        outcomes=[
            Outcome(N4, seconds),
            Outcome(N33, hooks.all(lambda sample: sample.p99)),
            Outcome(N54, late),
        ],
        figures=[("Promised times:", figures([hooks, mails], operation="call or mail"))],
        notes=[
            "Both owners' mails have the same priority and the same account, whose server takes"
            f" {_DELAY_SECONDS * 1000:.0f} ms for each; they are counted from the request until it has them.",
        ],
    )


def accepted(desk: Desk) -> float:
    began = time.perf_counter()
    [batch] = desk.order(_RECIPIENTS)
    taken = time.perf_counter() - began
    desk.call("POST", f"/deliveries/batches/{batch}/cancel")
    return taken


def told(desk: Desk, options: Options) -> Sample:
    plan = {
        "host": HOST,
        "port": desk.world.port("notify"),
        "path": "/hooks/whatsapp/wa",
        "number": NUMBER,
        "secret": HOOK_SECRET,
        "connections": _CONNECTIONS,
        "rate": _WEBHOOKS_A_SECOND,
        "warmup": 1.0,
        "seconds": options.seconds,
    }
    parts = {"service": [desk.world.pid("notify")], "databases": desk.world.databases}
    answer, used = run_load("benchmarks.load.hooks", plan, cores=desk.world.cores.others, parts=parts)
    return Sample.of(answer, used).checked("webhooks")


def overtaking(desk: Desk, options: Options) -> Sample:
    claims = access_claims(uuid.uuid4(), roles=["admin"], exp=int(time.time()) + TOKEN_SECONDS)
    token = access_token(KeyRing(desk.world.stack.world.key_ring), claims)
    plan = {
        "host": HOST,
        "port": desk.world.port("notify"),
        "control": desk.control,
        "headers": {"Authorization": f"Bearer {token}"},
        "body": {"channel": "email", "account": "shop", "priority": "bulk", "category": "orders", "content": CONTENT},
        "variables": {"name": "Ada", "order": "B-1"},
        "rate": _MAILS_A_SECOND,
        "seconds": options.seconds,
        "delay": _DELAY_SECONDS,
    }
    parts = {"service": [desk.worker], "databases": desk.world.databases}
    answer, used = run_load("benchmarks.load.codes", plan, cores=desk.world.cores.others, parts=parts)
    return Sample.of(answer, used).checked("mails")
