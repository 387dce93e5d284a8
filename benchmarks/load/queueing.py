"""A queue that is emptied by the service's own code, in this process, with a provider that takes everything at once.

`whole`: by its sender, with all that it looks at and renders. Otherwise by its claims alone: rows are taken, marked and
settled by the hundred.
"""

import asyncio
import json
import math
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
import uvloop

from libs.clock import Clock
from libs.crypto import FieldCipher
from libs.db import Database
from libs.lanes import Lanes
from notify_service.domain import accounts, queue
from notify_service.domain.channels import Capability, Message, Outcome
from notify_service.domain.claims import Claims, Quotas
from notify_service.domain.deliveries import Verdict
from notify_service.domain.happenings import Listening
from notify_service.domain.locks import Locks
from notify_service.domain.sender import Sender, Tools
from notify_service.domain.unsubscribe_links import UnsubscribeLinks
from notify_service.domain.verdicts import Policy

_AT_ONCE = 500
_ENDED = "SELECT count(*) AS n FROM delivery WHERE account = $1 AND state = 'sent'"
# As cheap to ask as it is often asked.
_LEFT = """
SELECT EXISTS (SELECT FROM delivery WHERE account = $1 AND state IN ('queued', 'retry'))
    OR EXISTS (SELECT FROM delivery WHERE account = $1 AND state IN ('claimed', 'sending')) AS left
"""
_TAKEN = Outcome()


class Silence:
    """A channel, and all of its lines."""

    capability = Capability(channel="email", provider="smtp", lines=16)
    fills = True

    def line(self) -> "Silence":
        return self

    def render(self, message: Message) -> str:
        return message.address

    async def open(self) -> None:
        pass

    async def send(self, address: str, payload: str) -> Outcome:
        del address, payload
        return _TAKEN

    async def close(self) -> None:
        pass


def nobody() -> Listening:
    """As in an installation without endpoints that listen."""
    listening = Listening()
    listening.found(somebody=False, at=math.inf)
    return listening


class Emptying:
    def __init__(self, plan: dict[str, Any]) -> None:
        self.account, self.count, self.keys = plan["account"], plan["count"], plan["keys"]
        self.db = Database(plan["database"], service="notify")
        self.lanes = Lanes("notify", plan["database"], 3)

    async def whole(self) -> None:
        locks = Locks(self.db)
        tools = Tools(
            locks=locks,
            lanes=self.lanes,
            cipher=FieldCipher(self.keys),
            links=UnsubscribeLinks(self.keys, None),
            clock=Clock(),
            listening=nobody(),
            policy_of=lambda _: Policy(),
        )
        async with self.db.transaction() as session:
            account = await accounts.by_name(session, self.account)
        assert account is not None
        sending = asyncio.create_task(Sender(self.db, account, Silence(), tools=tools).run())
        ended = asyncio.create_task(self.until_ended())
        await asyncio.wait({sending, ended}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
        sending.cancel()
        await asyncio.wait({sending})
        await locks.close()

    async def until_ended(self) -> None:
        left = True
        while left:
            await asyncio.sleep(0.05)
            left = (await self.lanes.fetch(_LEFT, self.account))[0]["left"]

    async def ended(self) -> int:
        (row,) = await self.lanes.fetch(_ENDED, self.account)
        return int(row["n"])

    async def alone(self) -> None:
        claims = Claims(self.db, self.lanes, nobody(), lease=10, quotas=Quotas(), on_room=lambda: None)
        writing = asyncio.create_task(claims.run())

        async def one(key: tuple[Any, int]) -> None:
            if await claims.begin(key):
                claims.settle(Verdict(id=key[0], fence=key[1], state="sent", milliseconds=0))

        while True:
            async with self.db.transaction() as session:
                heads = await queue.lines(session, self.account, _AT_ONCE)
                given = {(head.lane, head.queue): head.due for head in heads[:1]}
                rows = await queue.claim(session, self.account, given, lease=10)
            if not rows:
                break
            for row in rows:
                claims.take((row.id, row.fence))
            await asyncio.gather(*(one((row.id, row.fence)) for row in rows))
        await claims.settled()
        writing.cancel()


async def main(plan: dict[str, Any]) -> None:
    emptying = Emptying(plan)
    before = await emptying.ended()
    work: Callable[[], Awaitable[None]] = emptying.whole if plan["whole"] else emptying.alone
    print(json.dumps({"mark": "begin"}), flush=True)
    began = time.monotonic()
    await work()
    wall = time.monotonic() - began
    missing = before + plan["count"] - await emptying.ended()
    nothing = {"p50": float("nan"), "p99": float("nan")}
    answer = {"operations": plan["count"] - missing, "errors": missing, "wall": wall, **nothing}
    print(json.dumps({"mark": "end", **answer}), flush=True)
    await emptying.lanes.close()
    await emptying.db.close()


if __name__ == "__main__":
    # Standard output is for marks.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    uvloop.run(main(json.loads(sys.stdin.read())))
