"""Auth: signing in, refreshing, checking tokens, ending sessions, and what the time tells about accounts."""

from pathlib import Path

from benchmarks import checks, cpu, endings, guesses, logins, machine, refreshes
from benchmarks.harness import Options
from benchmarks.processes import Servers
from benchmarks.report import Section
from benchmarks.world import World

OURS = ("auth", "auth-worker", "chat", "gateway")
POLICY = Path(__file__).parent / "policies" / "auth.yaml"
SPARED = {"GATEWAY_EXEMPT_NETWORKS": "127.0.0.0/8", "GATEWAY_POLICY_FILE": str(POLICY)}
# Guesses come from an address each, as those of a botnet do.
TRUSTED = {"PARLEY_TRUSTED_PROXIES": "127.0.0.0/8"}


def compare(options: Options) -> Section:
    with Servers() as servers:
        world = World(
            servers, cores=cpu.Cores.shared(), wanted=OURS, extra={"gateway": SPARED, "auth": TRUSTED, "chat": TRUSTED}
        )
        world.start()
        parts = [part.measure(world, options) for part in (logins, refreshes, checks, endings, guesses)]
        postgres = machine.version_of(world.postgres.program.path, "--version")
    described = machine.describe(PostgreSQL=postgres, Valkey=machine.version_of(machine.valkey(), "--version"))
    return Section(
        "auth",
        "Auth",
        described,
        options.rounds,
        outcomes=[outcome for part in parts for outcome in part.outcomes],
        figures=[figure for part in parts for figure in part.figures],
        notes=[note for part in parts for note in part.notes],
    )
