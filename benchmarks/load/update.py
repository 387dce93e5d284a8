"""The limit no refresh can pass: one durable UPDATE .. RETURNING of the same table, by asyncpg and nothing else."""

import asyncio
import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

import asyncpg
import uvloop

from benchmarks.stats import percentile

_UPDATE = """
    UPDATE bare_sessions SET counter = counter + 1, rotated_at = $2, last_seen_at = $2
    WHERE id = $1 AND revoked_at IS NULL RETURNING id, counter, salt
"""


_COPY = """
    DROP TABLE IF EXISTS bare_sessions;
    CREATE TABLE bare_sessions (LIKE sessions INCLUDING ALL) WITH (fillfactor = 80);
    INSERT INTO bare_sessions SELECT * FROM sessions ORDER BY id LIMIT 400;
"""


async def work(connection: asyncpg.Connection, ids: list[Any], until: float, latencies: list[float]) -> None:
    statement = await connection.prepare(_UPDATE)
    while time.perf_counter() < until:
        for each in ids:
            began = time.perf_counter()
            row = await statement.fetchrow(each, datetime.now(UTC))
            assert row is not None
            latencies.append((time.perf_counter() - began) * 1000)


async def run(plan: dict[str, Any]) -> None:
    connections = [await asyncpg.connect(plan["database"]) for _ in range(plan["connections"])]
    # A copy: whoever holds a refresh token would be taken for a thief if the counters moved.
    await connections[0].execute(_COPY)
    rows = await connections[0].fetch("SELECT id FROM bare_sessions")
    print(json.dumps({"mark": "begin"}), flush=True)
    latencies: list[float] = []
    began = time.perf_counter()
    until = began + plan["seconds"]
    count = len(connections)
    ids = [row["id"] for row in rows]
    await asyncio.gather(*(work(c, ids[n::count], until, latencies) for n, c in enumerate(connections)))
    result = {
        "mark": "end",
        "operations": len(latencies),
        "errors": 0,
        "wall": time.perf_counter() - began,
        "p50": percentile(latencies, 0.5),
        "p99": percentile(latencies, 0.99),
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    uvloop.run(run(json.loads(sys.stdin.read())))
