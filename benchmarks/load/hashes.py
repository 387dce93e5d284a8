"""The limit no login can pass: threads that do nothing but hash with the parameters of the accounts."""

import json
import sys
import threading
import time
from collections.abc import Callable
from secrets import token_bytes
from typing import Any

import bcrypt
from argon2.low_level import Type, hash_secret_raw

from benchmarks.stats import percentile

_PASSWORD = b"correct horse battery staple"


def argon2id() -> None:
    hash_secret_raw(
        _PASSWORD,
        token_bytes(16),
        time_cost=2,
        memory_cost=19456,
        parallelism=1,
        hash_len=32,
        type=Type.ID,
    )


def of_bcrypt() -> Callable[[], None]:
    stored = bcrypt.hashpw(_PASSWORD, bcrypt.gensalt(12))

    def check() -> None:
        bcrypt.checkpw(_PASSWORD, stored)

    return check


def work(once: Callable[[], None], until: float, latencies: list[float]) -> None:
    while (began := time.perf_counter()) < until:
        once()
        latencies.append((time.perf_counter() - began) * 1000)


def run(plan: dict[str, Any]) -> None:
    once = argon2id if plan["algorithm"] == "argon2id" else of_bcrypt()
    once()
    print(json.dumps({"mark": "begin"}), flush=True)
    latencies: list[float] = []
    began = time.perf_counter()
    until = began + plan["seconds"]
    threads = [threading.Thread(target=work, args=(once, until, latencies)) for _ in range(int(plan["threads"]))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
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
    run(json.loads(sys.stdin.read()))
