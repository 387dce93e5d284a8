"""Publish texts on a Redis channel at a fixed rate, as another process of the service would."""

import asyncio
import json
import sys
from typing import Any

from redis.asyncio import Redis


async def publish(plan: dict[str, Any]) -> None:
    redis = Redis.from_url(plan["url"])
    loop = asyncio.get_running_loop()
    start = loop.time()
    for number, text in enumerate(plan["texts"]):
        await asyncio.sleep(max(0.0, start + number / plan["rate"] - loop.time()))
        await redis.publish(plan["channel"], text)
    await redis.aclose()


if __name__ == "__main__":
    asyncio.run(publish(json.loads(sys.stdin.read())))
