"""Gives jobs to a worker of arq: at a pace, to hear how soon each is begun; or many at once, to see them through."""

import asyncio
import json
import sys
import time
from typing import Any

from arq.connections import ArqRedis, RedisSettings, create_pool

STARTED = "bench:started"
_LATE_SECONDS = 20.0


async def begun(redis: ArqRedis, plan: dict[str, Any]) -> dict[str, Any]:
    count = int(plan["rate"] * plan["seconds"])
    due = time.monotonic()
    for _ in range(count):
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await redis.enqueue_job("start", due)
        due += 1 / plan["rate"]
    until = time.monotonic() + _LATE_SECONDS
    while await redis.llen(STARTED) < count and time.monotonic() < until:
        await asyncio.sleep(0.1)
    taken = [float(each) * 1000 for each in await redis.lrange(STARTED, 0, -1)]
    await redis.delete(STARTED)
    return {"operations": len(taken), "errors": count - len(taken), "wall": plan["seconds"], "taken": taken}


async def done(redis: ArqRedis, plan: dict[str, Any]) -> dict[str, Any]:
    began = time.monotonic()
    while await redis.zcard("arq:queue"):
        await asyncio.sleep(0.05)
    return {"operations": plan["count"], "errors": 0, "wall": time.monotonic() - began, "taken": []}


async def main(plan: dict[str, Any]) -> None:
    redis = await create_pool(RedisSettings.from_dsn(plan["redis"]))
    for _ in range(plan.get("count", 0)):
        await redis.enqueue_job("nothing")
    print(json.dumps({"mark": "begin"}), flush=True)
    answer = await (done if "count" in plan else begun)(redis, plan)
    print(json.dumps({"mark": "end", **answer}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.read())))
