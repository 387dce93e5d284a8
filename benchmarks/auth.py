"""Logins beside the limit that no login can pass: the same cores doing nothing but argon2id."""

import os

from benchmarks import cpu, machine
from benchmarks.harness import Options, Sample, Subject, alternate, run_load
from benchmarks.processes import HOST, Servers
from benchmarks.report import Section, figures, spread
from benchmarks.stats import Goal, Outcome, pair_ratios
from benchmarks.world import PASSWORD, World, installed

CONNECTIONS = 16
PEOPLE = 32
OURS = ("auth", "auth-worker")
PROBE = "/health/live"

P10 = Goal("auth P10", "logins/s beside bare argon2id on all cores", least=0.85)
P10_OTHERS = Goal("auth P10", "p99 of another route while logins saturate the cores, beside its p99 at rest", most=2.0)


def hashes(options: Options) -> Sample:
    plan = {"threads": len(os.sched_getaffinity(0)), "seconds": options.seconds}
    answer, used = run_load("benchmarks.load.argon2", plan, cores=os.sched_getaffinity(0), parts={}, itself=True)
    return sample_of(answer, used)


def sample_of(answer: dict[str, float], used: dict[str, float]) -> Sample:
    return Sample(
        operations=answer["operations"],
        wall=answer["wall"],
        cpu=used,
        p50=answer["p50"],
        p99=answer["p99"],
        errors=answer["errors"],
        extra={name: answer[name] for name in ("probe_p50", "probe_p99") if name in answer},
    )


class Logins:
    def __init__(self, world: World, options: Options) -> None:
        self.world = world
        self.options = options
        self.emails = [email for _, email in world.register(PEOPLE)]

    def __call__(self, connections: int = CONNECTIONS) -> Sample:
        requests = [
            {"method": "POST", "path": "/api/v1/auth/token", "body": {"email": email, "password": PASSWORD}}
            for email in self.emails
        ]
        plan = {
            "host": HOST,
            "port": self.world.port("auth"),
            "connections": connections,
            "seconds": self.options.seconds,
            "warmup": 1.0,
            "requests": requests,
            "probe": PROBE,
        }
        parts = {"service": self.world.pids(), "databases": self.world.databases}
        answer, used = run_load("benchmarks.load.http", plan, cores=os.sched_getaffinity(0), parts=parts)
        sample = sample_of(answer, used)
        return sample.checked("logins") if connections else sample

    def at_rest(self) -> Sample:
        return self(connections=0)


def compare(options: Options) -> Section:
    with Servers() as servers:
        complete = installed("auth_service")
        world = World(servers, cores=cpu.Cores.shared(), wanted=OURS if complete else ())
        limit = Subject("bare argon2id, a thread a core", lambda: hashes(options))
        subjects = [limit]
        if complete:
            world.start()
            logins = Logins(world, options)
            subjects += [
                Subject("POST /api/v1/auth/token", logins),
                Subject("at rest, the probe alone", logins.at_rest),
            ]
        print(f"auth: {CONNECTIONS} connections sign in")
        alternate(subjects, options)
        postgres = machine.version_of(world.postgres.program.path, "--version")
    described = machine.describe(PostgreSQL=postgres, Valkey=machine.version_of(machine.valkey(), "--version"))
    section = Section("auth", "Auth", described, options.rounds, outcomes(subjects))
    section.figures = [
        (
            f"{CONNECTIONS} connections, all cores:",
            figures(subjects[:2], operation="login", parts=["service", "databases"]),
        )
    ]
    section.notes = notes(subjects)
    return section


def outcomes(subjects: list[Subject]) -> list[Outcome]:
    if len(subjects) < 3:
        return [Outcome(goal, note="ours is missing, see the notes") for goal in (P10, P10_OTHERS)]
    limit, ours, rest = subjects
    rates = pair_ratios(ours.all(lambda sample: sample.rate), limit.all(lambda sample: sample.rate))
    return [Outcome(P10, rates), Outcome(P10_OTHERS, pair_ratios(ours.all(probe_p99), rest.all(probe_p99)))]


def probe_p99(sample: Sample) -> float:
    return sample.extra["probe_p99"]


def notes(subjects: list[Subject]) -> list[str]:
    parameters = "argon2id with 19 MiB, two passes, one lane."
    if len(subjects) < 3:
        return [parameters, "Ours was left out: this checkout has no auth service yet."]
    busy, rest = (spread(subject.all(probe_p99)) for subject in subjects[1:])
    return [parameters, f"p99 of `GET {PROBE}`, asked 20 times a second: {busy} ms while saturated, {rest} ms at rest."]
