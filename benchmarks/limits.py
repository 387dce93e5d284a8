"""Limits of a provider, used to the full and never broken: the simulator of WhatsApp counts in sliding seconds."""

import time
import uuid

import asyncpg
import httpx2

from benchmarks.desk import NUMBER, Desk
from benchmarks.harness import LoadFailed, Options
from benchmarks.report import Part, Table, spread
from benchmarks.stats import Goal, Outcome

NG9 = Goal("notify NG9", "messages in a minute that a limit of 80/s allows, taken by the provider", least=0.97)
NG9_REFUSED = Goal("notify NG9", "refusals of the provider meanwhile: the number's pace (429)", most=0)
NG9_PAIRS = Goal("notify NG9", "refusals meanwhile: too many to one recipient", most=0)
_RATE = 80
# One in six seconds to each, after 45 at once.
_FRIENDS, _TO_EACH = 5, 60
_MOST_ROUNDS = 3
_SETTLE_SECONDS = 2.0
_PATIENCE_SECONDS = 30.0
_TOO_FAST, _TOO_OFTEN = "130429", "131056"
_REFUSED = """
SELECT count(*) FROM delivery_attempt AS a JOIN delivery AS d ON d.id = a.delivery_id
WHERE d.batch_id = $1 AND a.error_code = $2
"""
_FRIENDS_GOT = """
SELECT count(*) FROM delivery WHERE batch_id = $1 AND address = ANY ($2) AND state IN ('sent', 'delivered', 'read')
"""


class Number:
    """A number of WhatsApp at the simulator, and the account of ours that has it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        address = desk.world.stack.address("sandbox")
        self._http = httpx2.Client(base_url=f"{address}/whatsapp", timeout=30, trust_env=False)
        self._http.put(f"/numbers/{NUMBER}", json={"tier": "unlimited", "per_second": _RATE}).raise_for_status()
        config = {"phone_number_id": NUMBER, "base_url": f"{address}/whatsapp", "per_second": _RATE}
        config["recipients_per_day"] = None
        given = {"name": "phones", "provider": "whatsapp", "config": config, "secrets": {"token": "parley"}}
        desk.call("POST", "/accounts", given)

    def close(self) -> None:
        self._http.close()
        self.desk.call("DELETE", "/accounts/phones")

    def taken(self) -> int:
        """How many messages the provider has, since they were forgotten."""
        return int(self._http.get("/messages", params={"limit": 1}).raise_for_status().json()["total"])

    def forget(self) -> None:
        self._http.delete("/messages").raise_for_status()

    def order(self, count: int) -> tuple[str, list[str]]:
        """More than can leave meanwhile, some of it to few people. The batch, and who they are."""
        stem = uuid.uuid4().int % 10**5
        friends = [f"+1202{stem:05}{number:02}" for number in range(_FRIENDS)]
        others = [f"+4930{stem:05}{number:05}" for number in range(count)]
        to = [{"address": each} for each in [*friends * _TO_EACH, *others]]
        content = {"template": {"name": "hello_world", "language": "en_US"}}
        given = {"channel": "whatsapp", "account": "phones", "content": content, "category": "orders", "to": to}
        return self.desk.call("POST", "/deliveries", given)["id"], friends


class Minute:
    """What was taken and refused while there was always more."""

    def __init__(self, number: Number, seconds: float) -> None:
        number.forget()
        batch, friends = number.order(int(_RATE * (seconds + 3 * _SETTLE_SECONDS)))
        until = time.monotonic() + _PATIENCE_SECONDS
        while not number.taken():
            time.sleep(0.05)
            if time.monotonic() > until:
                raise LoadFailed("the simulator gets nothing")
        time.sleep(_SETTLE_SECONDS)
        number.forget()
        began = time.monotonic()
        time.sleep(seconds)
        taken = number.taken()
        self.share = taken / (_RATE * (time.monotonic() - began))
        number.desk.call("POST", f"/deliveries/batches/{batch}/cancel")
        time.sleep(_SETTLE_SECONDS)
        refused = number.desk.world.servers.run(counted(number.desk, batch, friends))
        self.too_fast, self.too_often, self.friends = refused


async def counted(desk: Desk, batch: str, friends: list[str]) -> tuple[int, int, int]:
    connection = await asyncpg.connect(desk.database)
    try:
        fast, often = [await connection.fetchval(_REFUSED, batch, code) for code in (_TOO_FAST, _TOO_OFTEN)]
        return fast, often, await connection.fetchval(_FRIENDS_GOT, batch, friends)
    finally:
        await connection.close()


def measure(desk: Desk, options: Options) -> Part:
    print("notify: limits")
    seconds = 10.0 if options.quick else 60.0
    minutes = []
    with desk.world.beside("sandbox"):
        number = Number(desk)
        for each in range(min(_MOST_ROUNDS, options.rounds)):
            minutes.append(Minute(number, seconds))
            share = minutes[-1].share
            print(
                f"  round {each + 1}  {share:.3f} of the limit, {minutes[-1].too_fast + minutes[-1].too_often} refused"
            )
        number.close()
    table = Table(
        ["share of 80/s", "refused for the number's pace", "refused for one recipient", "to each of the five"]
    )
    table.rows.append(
        [
            spread([minute.share for minute in minutes], 3),
            spread([minute.too_fast for minute in minutes], 0),
            spread([minute.too_often for minute in minutes], 0),
            spread([minute.friends / _FRIENDS for minute in minutes], 0),
        ]
    )
    return Part(
        outcomes=[
            Outcome(NG9, [minute.share for minute in minutes]),
            Outcome(NG9_REFUSED, [minute.too_fast for minute in minutes]),
            Outcome(NG9_PAIRS, [minute.too_often for minute in minutes]),
        ],
        figures=[(f"{seconds:.0f} s of a full queue at {_RATE}/s, {_TO_EACH} messages to each of {_FRIENDS}:", table)],
        notes=[
            "The simulator counts what it takes in sliding seconds, as its owner says of WhatsApp, and refuses what is"
            " over (130429), or what is too much for one recipient (131056): 45 at once, then one in six seconds."
        ],
    )
