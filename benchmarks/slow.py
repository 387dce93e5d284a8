"""Clients that are slow on purpose, and what everybody else notices: slowhttptest beside an ordinary load."""

import csv
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from math import inf
from pathlib import Path

from benchmarks import cpu, machine, peers, world
from benchmarks.harness import LoadFailed, Options, Sample, Subject, run_load
from benchmarks.processes import HOST, Servers, free_port
from benchmarks.report import Section, Table, figures, spread
from benchmarks.stats import Goal, Outcome, pair_ratios

PATH = "/api/v1/users/me"
CROWD = 500
OTHERS = 8
_OPENING_SECONDS = 1.0

P15 = Goal("gateway P15", f"p99 of others beside {CROWD} slow clients, beside their p99 alone", most=2.0)
P15_CLOSED = Goal("gateway P15", f"seconds until {CROWD} connections with slow heads are closed", most=11.0)


@dataclass(frozen=True)
class Attack:
    name: str
    options: tuple[str, ...]
    seconds: int
    """How long it would go on; it ends earlier when nobody is connected any more."""
    path: str = PATH
    settle: float = 2 * _OPENING_SECONDS
    """Seconds until all of them are there and nothing but slow."""


HEADS = Attack("slow heads (-H)", ("-H", "-i", "1"), 20)
ATTACKS = (
    HEADS,
    Attack("slow bodies (-B)", ("-B", "-i", "1", "-s", "8192", "-x", "2"), 45),
    Attack("overlapping ranges (-R)", ("-R", "-a", "1", "-b", "3000"), 15),
    # Before they are slow, five hundred answers of a MiB each fill the buffers: that is a burst, and no part of this.
    Attack("slow reading (-X)", ("-X", "-w", "10", "-y", "20", "-n", "1", "-z", "5"), 45, f"{PATH}/large", settle=10.0),
)


@dataclass
class Field:
    port: int
    pid: int
    cores: cpu.Cores
    scratch: Path

    def others(self, seconds: float) -> Sample:
        """An ordinary load."""
        plan = {"host": HOST, "port": self.port, "connections": OTHERS, "seconds": seconds, "warmup": 0.5}
        plan["requests"] = [{"path": PATH}]
        answer, used = run_load("benchmarks.load.http", plan, cores=self.cores.others, parts={"service": [self.pid]})
        return Sample.of(answer, used).checked("others")

    def under(self, attack: Attack, program: str, seconds: float) -> Sample:
        """The same load while the attack goes on; `extra` says when its last connection was closed."""
        prefix = self.scratch / "attack"
        argv = [program, *attack.options, "-c", str(CROWD), "-r", str(CROWD), "-l", str(attack.seconds)]
        argv += ["-u", f"http://{HOST}:{self.port}{attack.path}", "-p", "10", "-v", "0", "-g", "-o", str(prefix)]
        with subprocess.Popen(
            argv,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, self.cores.others),  # noqa: PLW1509 - there are no threads
        ) as running:
            time.sleep(attack.settle)
            sample = self.others(seconds)
            running.wait(attack.seconds + 30)
        sample.extra["closed"] = last_open(prefix.with_suffix(".csv"), attack.seconds)
        return sample


def last_open(path: Path, limit: int) -> float:
    """Seconds from the moment when all had connected until none was left; infinite where some were left.

    slowhttptest writes a row a second, and stops before its `limit` when nobody is connected any more.
    """
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise LoadFailed(f"slowhttptest wrote nothing into {path}")
    last = float(rows[-1]["Seconds"])
    return inf if last >= limit - 1 else max(0.0, last + 1 - _OPENING_SECONDS)


def bring(servers: Servers) -> Field:
    cores = cpu.Cores.split()
    databases = world.World(servers, cores=cores)
    target, port = free_port(), free_port()
    # Not nginx: that answers a POST before its body has come, and nobody would be slow.
    servers.serve([sys.executable, "-m", "benchmarks.load.upstream", str(target)], target, name="upstream")
    env = {
        **databases.stack.env("gateway"),
        "GATEWAY_AUTH_URLS": f"http://{HOST}:{target}",
        "GATEWAY_PORT": str(port),
        "GATEWAY_METRICS_PORT": "0",
        "GATEWAY_EXEMPT_NETWORKS": "127.0.0.0/8",
        # As behind a load balancer: from one address no more than two hundred would be let in, and nothing be slow.
        "PARLEY_TRUSTED_PROXIES": "127.0.0.0/8",
    }
    pid = servers.serve([sys.executable, "-m", "gateway", "serve"], port, name="slow", cores=cores.subject, env=env)
    return Field(port, pid, cores, servers.scratch("slow"))


def compare(options: Options) -> Section:
    program = peers.program("slowhttptest")
    if program is None:
        raise LoadFailed(f"{peers.missing('slowhttptest')}.")
    with Servers() as servers:
        found = bring(servers)
        alone: dict[str, list[Sample]] = {attack.name: [] for attack in ATTACKS}
        beside: dict[str, list[Sample]] = {attack.name: [] for attack in ATTACKS}
        for number in range(options.rounds):
            for attack in ATTACKS:
                alone[attack.name].append(found.others(options.seconds))
                sample = found.under(attack, program, options.seconds)
                beside[attack.name].append(sample)
                print(
                    f"  round {number + 1}/{options.rounds}  {attack.name:<26} p99 {alone[attack.name][-1].p99:7.2f} ms"
                    f" alone, {sample.p99:7.2f} ms beside it, all closed after {sample.extra['closed']:.0f} s"
                )
    return section(alone, beside, options.rounds)


def section(alone: dict[str, list[Sample]], beside: dict[str, list[Sample]], rounds: int) -> Section:
    def p99s(samples: list[Sample]) -> list[float]:
        return [sample.p99 for sample in samples]

    outcomes = [
        Outcome(
            Goal(P15.name, f"{P15.text}: {name}", most=P15.most), pair_ratios(p99s(beside[name]), p99s(alone[name]))
        )
        for name in beside
    ]
    outcomes.append(Outcome(P15_CLOSED, closed(beside[HEADS.name])))
    made = Section("slow", "Slow clients", machine.describe(), rounds, outcomes)
    table = Table(["attack", "all closed after, s"])
    table.rows += [[name, spread(closed(samples), 0)] for name, samples in beside.items()]
    subjects = [Subject("nobody slow", lambda: Sample(0, 0), samples=[each for one in alone.values() for each in one])]
    subjects += [Subject(name, lambda: Sample(0, 0), samples=samples) for name, samples in beside.items()]
    made.figures = [
        (f"{OTHERS} ordinary connections beside {CROWD} slow ones:", figures(subjects, operation="request")),
        ("The slow ones:", table),
    ]
    return made


def closed(samples: list[Sample]) -> list[float]:
    return [sample.extra["closed"] for sample in samples]
