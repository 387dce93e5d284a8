"""The limit no login can pass: threads that do nothing but hash with the parameters of the accounts."""

import json
import sys
import threading
import time
from secrets import token_bytes

from argon2.low_level import Type, hash_secret_raw

from benchmarks.stats import percentile


def hash_once() -> None:
    hash_secret_raw(
        b"correct horse battery staple",
        token_bytes(16),
        time_cost=2,
        memory_cost=19456,
        parallelism=1,
        hash_len=32,
        type=Type.ID,
    )


def work(until: float, latencies: list[float]) -> None:
    while (began := time.perf_counter()) < until:
        hash_once()
        latencies.append((time.perf_counter() - began) * 1000)


def run(plan: dict[str, float]) -> None:
    hash_once()
    print(json.dumps({"mark": "begin"}), flush=True)
    latencies: list[float] = []
    began = time.perf_counter()
    until = began + plan["seconds"]
    threads = [threading.Thread(target=work, args=(until, latencies)) for _ in range(int(plan["threads"]))]
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
