"""100,000 receipts, each told three times and all of them in any order, and what they make of 33,333 messages."""

import asyncio
import time
import uuid
from collections.abc import Sequence
from typing import Any

import asyncpg

from benchmarks import cpu
from benchmarks.desk import HOOK_SECRET, NUMBER, Desk, go_on, stand_still
from benchmarks.harness import LoadFailed, Options, Sample, run_load
from benchmarks.processes import HOST
from benchmarks.report import Part, Table, spread
from benchmarks.stats import Goal, Outcome

NG10 = Goal("notify NG10", "receipts/s of one worker, each told three times and in any order", least=5000)
NG10_SAME = Goal("notify NG10", "messages that end otherwise than when each receipt comes once, in order", most=0)
_MESSAGES = 33_333
_CONNECTIONS = 16
_MOST_ROUNDS = 3
_PATIENCE_SECONDS = 120.0
_SINCE = 1_790_000_000
_SENT = """
UPDATE delivery SET state = 'sent', attempts = 1, fence = 1, sent_at = to_timestamp($3), updated_at = now(),
    provider_id = 'wamid.' || $2 || '.' || numbered.number
FROM (SELECT id AS found, row_number() OVER (ORDER BY id) - 1 AS number FROM delivery WHERE batch_id = ANY ($1))
    AS numbered
WHERE id = found
"""
_NUMBERED = "SELECT {what} FROM delivery WHERE batch_id = ANY ($1) ORDER BY id"
_STATES = "state, reason, error_class, error_code, sent_at, delivered_at, read_at"
_WAITING = "SELECT count(*) FROM told WHERE account = 'wa' AND next_at IS NOT NULL"


class Run:
    """The receipts of so many messages that have just been sent: told while nobody looks, and then looked at."""

    def __init__(self, desk: Desk, messages: int, *, times: int) -> None:
        self.desk = desk
        self.batches: list[uuid.UUID] = []
        self.ends: Sequence[Any] = ()
        # What has only just been accepted must not be sent.
        stand_still(desk.worker)
        try:
            deliveries, stem = desk.world.servers.run(self._messages(messages))
            self.told = self._tell(deliveries, stem, times)
        finally:
            go_on(desk.worker)
        self.heard = desk.world.servers.run(self._hear(messages))

    async def _messages(self, count: int) -> tuple[list[str], str]:
        """Their ids, and what those of the provider begin with."""
        stem = uuid.uuid4().hex
        self.batches = [uuid.UUID(each) for each in self.desk.order_phones(count)]
        connection = await asyncpg.connect(self.desk.database)
        try:
            await connection.execute(_SENT, self.batches, stem, float(_SINCE + 5000))
            rows = await connection.fetch(_NUMBERED.format(what="id"), self.batches)
        finally:
            await connection.close()
        return [str(row["id"]) for row in rows], stem

    def _tell(self, deliveries: list[str], stem: str, times: int) -> Sample:
        world = self.desk.world
        plan = {
            "host": HOST,
            "port": world.port("notify"),
            "path": "/hooks/whatsapp/wa",
            "number": NUMBER,
            "secret": HOOK_SECRET,
            "connections": _CONNECTIONS,
            "deliveries": deliveries,
            "stem": stem,
            "since": _SINCE,
            "times": times,
        }
        parts = {"service": [world.pid("notify")], "databases": world.databases}
        answer, used = run_load("benchmarks.load.receipts", plan, cores=world.cores.others, parts=parts)
        sample = Sample.of(answer, used)
        if sample.errors:
            raise LoadFailed(f"{sample.errors:.0f} webhooks were not taken")
        return sample

    async def _hear(self, messages: int) -> Sample:
        world, worker = self.desk.world, self.desk.worker
        connection = await asyncpg.connect(self.desk.database)
        try:
            began, used = time.monotonic(), (cpu.seconds([worker]), cpu.seconds(world.databases))
            while waiting := await connection.fetchval(_WAITING):
                await asyncio.sleep(0.1)
                if time.monotonic() - began > _PATIENCE_SECONDS:
                    raise LoadFailed(f"{waiting} receipts still wait")
            wall = time.monotonic() - began
            now = cpu.seconds([worker]), cpu.seconds(world.databases)
            self.ends = await connection.fetch(_NUMBERED.format(what=_STATES), self.batches)
        finally:
            await connection.close()
        return Sample(3 * messages, wall, cpu={"service": now[0] - used[0], "databases": now[1] - used[1]})


def measure(desk: Desk, options: Options) -> Part:
    print("notify: receipts")
    messages = _MESSAGES // (10 if options.quick else 1)
    once = Run(desk, messages, times=1)
    print(f"  each once, in order: {once.heard.rate:.0f}/s")
    runs = []
    for number in range(min(_MOST_ROUNDS, options.rounds)):
        runs.append(Run(desk, messages, times=3))
        print(f"  round {number + 1}  told {runs[-1].told.rate:.0f}/s, heard {runs[-1].heard.rate:.0f}/s")
    others = [sum(one != two for one, two in zip(once.ends, run.ends, strict=True)) for run in runs]
    table = Table(["step", "receipts/s", "CPU us/receipt", "of it service", "of it databases"])
    for name, samples in {
        "each once, in order: told": [once.told],
        "each once, in order: taken to its message": [once.heard],
        "three times, in any order: told": [run.told for run in runs],
        "three times, in any order: taken to its message": [run.heard for run in runs],
    }.items():
        micros = [
            spread([sample.micros(*parts) for sample in samples], 1) for parts in ((), ("service",), ("databases",))
        ]
        table.rows.append([name, spread([sample.rate for sample in samples], 0), *micros])
    return Part(
        outcomes=[Outcome(NG10, [run.heard.rate for run in runs]), Outcome(NG10_SAME, others)],
        figures=[(f"Receipts of {messages:,} messages, in webhooks of up to 200:", table)],
        notes=[
            "Told: over HTTP, proved and stored, by one process of notify; of three tellings one is a row. Taken to its"
            " message: by one worker, which stood still until then, as many a second as there are different receipts;"
            " the states and all their times are compared with those of the messages whose receipts came in order."
        ],
    )
