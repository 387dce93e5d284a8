"""Workers of arq: one with its defaults, and one that hurries, which nobody can be measured against unfairly."""

import os
import time
from typing import Any

from arq import func
from arq.connections import RedisSettings

STARTED = "bench:started"


async def start(ctx: dict[str, Any], due: float) -> None:
    """Says how long it took until it was begun. Its clock is that of the whole machine."""
    await ctx["redis"].rpush(STARTED, time.monotonic() - due)


async def nothing(ctx: dict[str, Any]) -> None:
    del ctx


class Usual:
    functions = (func(start, keep_result=0),)
    redis_settings = RedisSettings.from_dsn(os.environ["PEER_REDIS_URL"])


class Hurried:
    functions = (func(nothing, keep_result=0),)
    redis_settings = RedisSettings.from_dsn(os.environ["PEER_REDIS_URL"])
    max_jobs = 100
    queue_read_limit = 1000
    poll_delay = 0.01
