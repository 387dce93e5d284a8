"""What a provider says of many messages: sent, delivered, read of each, in webhooks of many. `times`: how often each is
told, and when it is more than once, all of it in any order."""

import asyncio
import hashlib
import hmac
import json
import secrets
import sys
import time
from collections.abc import Iterator
from typing import Any

import uvloop

from benchmarks.load.http import Connection
from benchmarks.stats import percentile

_STATES = ("sent", "delivered", "read")
_MOST = 200
_random = secrets.SystemRandom()


def statuses(plan: dict[str, Any]) -> list[dict[str, str]]:
    """With a second between the three of a message, and the id of ours that comes back with each."""
    found = [
        {
            "id": f"wamid.{plan['stem']}.{number}",
            "status": state,
            "timestamp": str(plan["since"] + number % 1000 + step),
            "recipient_id": "12025550101",
            "biz_opaque_callback_data": delivery,
        }
        for number, delivery in enumerate(plan["deliveries"])
        for step, state in enumerate(_STATES)
    ] * int(plan["times"])
    if plan["times"] > 1:
        _random.shuffle(found)
    return found


def bodies(plan: dict[str, Any]) -> Iterator[bytes]:
    told = statuses(plan)
    start = 0
    while start < len(told):
        many = _random.randint(1, _MOST)
        value = {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "15550001111", "phone_number_id": plan["number"]},
            "statuses": told[start : start + many],
        }
        changes = [{"field": "messages", "value": value}]
        yield json.dumps({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": changes}]}).encode()
        start += many


def signed(plan: dict[str, Any], body: bytes) -> bytes:
    made = hmac.new(plan["secret"].encode(), body, hashlib.sha256).hexdigest()
    head = (
        f"POST {plan['path']} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nX-Hub-Signature-256: sha256={made}\r\n\r\n"
    )
    return head.encode() + body


async def run(plan: dict[str, Any]) -> None:
    requests = [signed(plan, body) for body in bodies(plan)]
    calls = iter(requests)
    latencies: list[float] = []
    bad = 0

    async def line() -> None:
        nonlocal bad
        _, connection = await asyncio.get_running_loop().create_connection(Connection, plan["host"], plan["port"])
        for request in calls:
            began = time.perf_counter()
            status = await connection.ask(request)
            latencies.append((time.perf_counter() - began) * 1000)
            bad += status != 200

    print(json.dumps({"mark": "begin"}), flush=True)
    began = time.perf_counter()
    await asyncio.gather(*(line() for _ in range(plan["connections"])))
    result = {
        "mark": "end",
        "operations": len(plan["deliveries"]) * len(_STATES) * plan["times"],
        "errors": bad,
        "wall": time.perf_counter() - began,
        "p50": percentile(latencies, 0.5),
        "p99": percentile(latencies, 0.99),
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    uvloop.run(run(json.loads(sys.stdin.read())))
