"""Notify beside Celery and Django: mails with a row for each, webhooks that are stored before they are answered, and
codes that overtake a campaign."""

from collections.abc import Callable, Mapping

from benchmarks import (
    campaigns,
    codes,
    cpu,
    hooks,
    inapp,
    limits,
    machine,
    mails,
    queueing,
    receipts,
    takeovers,
    timely,
)
from benchmarks.desk import Desk
from benchmarks.harness import Options
from benchmarks.processes import Servers
from benchmarks.report import Part, Section, attempt
from benchmarks.world import World

OURS = ("auth", "auth-worker", "notify", "notify-worker")
PARTS: Mapping[str, Callable[[Desk, Options], Part]] = {
    "mails": mails.measure,
    "hooks": hooks.measure,
    "campaigns": campaigns.measure,
    "codes": codes.measure,
    "inapp": inapp.measure,
    "queueing": queueing.measure,
    "takeovers": takeovers.measure,
    "limits": limits.measure,
    "receipts": receipts.measure,
    "timely": timely.measure,
}
# Nobody is there: mails leave by an account of their own.
NOWHERE = {"NOTIFY_SMTP_URL": "smtp://127.0.0.1:25?starttls=off"}


def compare(options: Options) -> Section:
    with Servers() as servers:
        # The peer has two processes: all have all cores.
        world = World(
            servers, cores=cpu.Cores.shared(), wanted=OURS, extra={"notify": NOWHERE, "notify-worker": NOWHERE}
        )
        world.start()
        desk = Desk(world)
        parts = [attempt(PARTS[name], desk, options) for name in options.only or PARTS]
        described = machine.describe(
            PostgreSQL=machine.version_of(world.postgres.program.path, "--version"),
            Valkey=machine.version_of(machine.valkey(), "--version"),
            Go=machine.version_of("go", "version"),
        )
    return Section("notify", "Notifications", described, options.rounds).add(parts)
