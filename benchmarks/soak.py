"""Whether memory stays flat: chat and its worker under a day's worth of coming and going, in a quarter of an hour."""

from statistics import median

from benchmarks import cpu, machine, sides
from benchmarks.harness import Options, run_load
from benchmarks.processes import HOST, Servers
from benchmarks.report import Section, Table
from benchmarks.stats import Goal, Outcome
from benchmarks.storms import Town
from benchmarks.world import World

SECONDS = 900
# What one core carries for a service, its worker and its neighbours with room to spare: who is shed is not kept.
AT_ONCE = 50
TURNS = 60
WANTED = ("auth", "chat", "chat-worker")

FLAT = Goal("soak", "memory of the last fifth of the run beside that of the second", most=1.1)
REFUSED = Goal("soak", "sockets that could not be opened", most=0)


def compare(options: Options) -> Section:
    seconds = 60 if options.quick else SECONDS
    with Servers() as servers:
        world = World(servers, cores=cpu.Cores.split(), wanted=WANTED, extra=sides.SETTINGS)
        world.start()
        town = Town(world)
        followed = {name: world.pid(name) for name in ("chat", "chat-worker")}
        sizes: dict[str, list[float]] = {name: [] for name in followed}

        def note(_mark: str) -> None:
            for name, pid in followed.items():
                sizes[name].append(cpu.resident([pid]) / (1 << 20))

        plan = {
            "host": HOST,
            "port": world.port("chat"),
            "tokens": town.tokens,
            "conversations": [str(c) for c in town.conversations[:50]],
            "at_once": AT_ONCE,
            "turns": TURNS,
            "pause": 0.25,
            "seconds": seconds,
        }
        print(f"soak: {AT_ONCE} sockets that come and go, {seconds} seconds")
        answer, _ = run_load("benchmarks.load.soak", plan, cores=world.cores.others, parts={}, on_mark=note)
        postgres = machine.version_of(world.postgres.program.path, "--version")
    table = Table(["process", "MiB, second fifth", "MiB, last fifth", "MiB, most"])
    growth = []
    for name, taken in sizes.items():
        fifth = len(taken) // 5
        early, late = median(taken[fifth : 2 * fifth]), median(taken[-fifth:])
        growth.append(late / early)
        table.rows.append([name, f"{early:.1f}", f"{late:.1f}", f"{max(taken):.1f}"])
    return Section(
        "soak",
        "Soak",
        machine.describe(PostgreSQL=postgres, Valkey=machine.version_of(machine.valkey(), "--version")),
        1,
        outcomes=[Outcome(FLAT, growth), Outcome(REFUSED, [answer["failed"]])],
        figures=[(f"Memory over {seconds} seconds:", table)],
        notes=[
            f"{answer['visits']} visits of {TURNS * 0.25:.0f} seconds, {answer['sent']} messages, {answer['refused']}"
            " refused operations (a reaction or an edit may meet a message of another conversation),"
            f" {answer['busy']} of them because there was too much to do.",
        ],
    )
