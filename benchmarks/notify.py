"""Notify beside Celery and Django: mails with a row for each, webhooks that are stored before they are answered, and
codes that overtake a campaign."""

from benchmarks import campaigns, codes, cpu, hooks, machine, mails
from benchmarks.desk import Desk
from benchmarks.harness import Options
from benchmarks.processes import Servers
from benchmarks.report import Section, attempt
from benchmarks.world import World

OURS = ("auth", "notify", "notify-worker")
PARTS = (mails, hooks, campaigns, codes)
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
        parts = [attempt(part.measure, desk, options) for part in PARTS]
        postgres = machine.version_of(world.postgres.program.path, "--version")
        described = machine.describe(PostgreSQL=postgres, Valkey=machine.version_of(machine.valkey(), "--version"))
    return Section("notify", "Notifications", described, options.rounds).add(parts)
