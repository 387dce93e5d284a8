"""Storing messages beside what PostgreSQL can do for anybody: pgbench, with the same clients, on the same server."""

import asyncio
import os
import re
import subprocess
from pathlib import Path

import asyncpg

from benchmarks import cpu
from benchmarks.harness import LoadFailed, Options, Sample, Subject, alternate, run_load
from benchmarks.load.storing import MEMBERS, furnish, numbered
from benchmarks.processes import STATE
from benchmarks.report import Part, figures
from benchmarks.sides import Side
from benchmarks.stats import Goal, Outcome, pair_ratios
from benchmarks.world import World
from chat_service.domain.statement import PLAIN_OF_ONE
from libs import migrations

CLIENTS = 8
SENDERS = 400
SPREAD = 1000
GROUP = 1000

P6_ALONE = Goal("chat P6", "stored messages/s, a statement each (pgbench both), beside a plain insert", least=0.5)
P6 = Goal("chat P6", "our writer's messages/s, in batches, beside pgbench's plain insert", least=2)
P7 = Goal("chat P7", "one hot conversation, beside pgbench's update and insert of a hot row", least=5)
P13 = Goal("chat P13", f"read marks moved/s, beside messages/s with a row for each of {GROUP} readers", least=20)

_TABLES = """
CREATE TABLE plain (conversation_id uuid, id uuid PRIMARY KEY, sender_id uuid, content text, created_at timestamptz);
CREATE TABLE hot (id int PRIMARY KEY, seq bigint) WITH (fillfactor = 70);
INSERT INTO hot VALUES (1, 0);
CREATE TABLE reader (message_id bigint, user_id int, read_at timestamptz, PRIMARY KEY (message_id, user_id));
CREATE TABLE mark (user_id int PRIMARY KEY, seq bigint) WITH (fillfactor = 80);
INSERT INTO mark SELECT n, 0 FROM generate_series(1, 1000) AS n;
CREATE SEQUENCE said;
"""
_INSERT = """
INSERT INTO plain VALUES (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), repeat('x', 120), now());
"""
_HOT = f"""
BEGIN;
UPDATE hot SET seq = seq + 1 WHERE id = 1;
{_INSERT}
COMMIT;
"""
_ROWS = f"INSERT INTO reader SELECT nextval('said') + 0 * n, n, now() FROM generate_series(1, {GROUP}) AS n;"
_MARKS = f"""
\\set reader random(1, {GROUP})
UPDATE mark SET seq = greatest(seq, nextval('said')) WHERE user_id = :reader;
"""


def own_statement() -> str:
    """The statement of the service with one message, its values made up by pgbench's program and the server."""
    given = {
        "$1::uuid": "md5('place ' || :place)::uuid",
        "$2::uuid[]": "ARRAY[md5('person ' || :person)::uuid]",
        "$3::uuid[]": "ARRAY[gen_random_uuid()]",
        "$4::uuid[]": "ARRAY[gen_random_uuid()]",
        "$5::text[]": "ARRAY[repeat('x', 120)]",
        "$6": "now()",
    }
    text = PLAIN_OF_ONE
    for parameter, value in given.items():
        text = text.replace(parameter, value)
    return f"\\set place random(0, {SPREAD - 1})\n\\set person random(0, {MEMBERS - 1})\n{text.strip()};\n"


class Bench:
    """pgbench on a database of its own, on the server that ours uses."""

    def __init__(self, world: World) -> None:
        self.url = world.database("pgbench")
        self.program = str(Path(world.postgres.program.path).parent / "pgbench")
        # Not the database of the running service: its worker would look after all these messages meanwhile.
        self.chat = world.database("storing")
        asyncio.run(self._prepare())

    async def _prepare(self) -> None:
        await asyncio.to_thread(migrations.upgrade, "chat", self.chat)
        await furnish(self.chat, SPREAD, ids=numbered)
        # What autovacuum does within a minute.
        for url, script in ((self.url, _TABLES), (self.chat, "ANALYZE")):
            connection = await asyncpg.connect(url)
            await connection.execute(script)
            await connection.close()

    def __call__(self, script: str, seconds: float, *, ours: bool = False) -> Sample:
        STATE.mkdir(parents=True, exist_ok=True)
        path = STATE / "pgbench.sql"
        path.write_text(script)
        argv = [self.program, "-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "2", "-T", str(max(1, round(seconds)))]
        # As the service sets them for its own connections.
        env = {**os.environ, "PGOPTIONS": "-c jit=off -c plan_cache_mode=force_generic_plan"}
        target = self.chat if ours else self.url
        done = subprocess.run([*argv, "-f", str(path), target], capture_output=True, text=True, check=True, env=env)
        found = re.search(r"transactions actually processed: (\d+)", done.stdout)
        rate = re.search(r"tps = ([\d.]+)", done.stdout)
        if not found or not rate:
            raise LoadFailed(f"pgbench said nothing that is known: {done.stdout[-500:]}")
        return Sample(float(found[1]), float(found[1]) / float(rate[1]))


def store(world: World, database: str, seconds: float, *, conversations: int) -> Sample:
    plan = {
        "database": database,
        "conversations": conversations,
        "senders": SENDERS,
        "seconds": seconds,
    }
    cores = world.cores.subject | world.cores.others
    answer, used = run_load("benchmarks.load.storing", plan, cores=cores, parts={}, itself=True)
    if answer["errors"]:
        raise LoadFailed(f"{answer['errors']:.0f} messages were refused, lost, or stored twice")
    return Sample(answer["operations"], answer["wall"], cpu=used, p50=answer["p50"], p99=answer["p99"])


def measure(found: dict[str, Side], options: Options) -> Part:
    world = found["ours"].world
    seconds = options.seconds
    bench = Bench(world)
    # PostgreSQL is the subject here: it has all cores, for both sides.
    cpu.pin(world.databases, world.cores.subject | world.cores.others)
    print("chat: storing beside pgbench")
    plain = Subject("pgbench, plain insert", lambda: bench(_INSERT, seconds))
    hot = Subject("pgbench, hot row", lambda: bench(_HOT, seconds))
    statement = own_statement()
    alone = Subject("pgbench, our statement, a message each", lambda: bench(statement, seconds, ours=True))
    together = Subject("our writer, batches", lambda: store(world, bench.chat, seconds, conversations=SPREAD))
    ours_hot = Subject("our writer, one hot conversation", lambda: store(world, bench.chat, seconds, conversations=1))
    alternate([plain, alone, together, hot, ours_hot], options)
    rows = Subject("a row for each reader", lambda: bench(_ROWS, seconds))
    marks = Subject("a mark moved", lambda: bench(_MARKS, seconds))
    alternate([rows, marks], options)
    cpu.pin(world.databases, world.cores.others)

    def rates(subject: Subject) -> list[float]:
        return subject.all(lambda sample: sample.rate)

    return Part(
        outcomes=[
            Outcome(P6_ALONE, pair_ratios(rates(alone), rates(plain))),
            Outcome(P6, pair_ratios(rates(together), rates(plain))),
            Outcome(P7, pair_ratios(rates(ours_hot), rates(hot))),
            Outcome(P13, pair_ratios(rates(marks), rates(rows))),
        ],
        figures=[
            (
                f"Stored messages, {CLIENTS} connections of pgbench, all cores:",
                figures([plain, alone, together, hot, ours_hot], operation="message", timed=False),
            ),
        ],
        notes=[
            f"Our writer is that of the service with {SENDERS} senders and all its guarantees. Every twentieth message"
            " is sent twice; afterwards the rows are counted: none is missing, none is there twice, no number missing.",
        ],
    )
