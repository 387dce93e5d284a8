"""Phones, as people who hold them."""

import asyncio
import itertools
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any

import httpx2
from prometheus_client import REGISTRY

from libs.contracts.accounts import MessageRequested
from tests.auth.api import Api

REQUEST = "/api/v1/auth/otp/request"
VERIFY = "/api/v1/auth/otp/verify"


_numbers = itertools.count(1)
_networks = itertools.count(1)


def new_phone(prefix: str = "+49151", digits: int = 8) -> str:
    """Nobody else's, whatever it begins with; of a mobile network unless that says otherwise. `digits` follow."""
    return f"{prefix}{next(_numbers):0{digits}}"


def new_address() -> str:
    """Nobody's neighbour (IPv6 /48), with all eight groups written."""
    return str(IPv6Address((0x2001_0DB8 << 96) + (next(_networks) << 80) + 0x1_0001_0001_0001_0001))


@dataclass
class Phone:
    """Each request comes from another address, unless one is given."""

    api: Api
    number: str

    @classmethod
    def new(cls, api: Api) -> "Phone":
        return cls(api, new_phone())

    async def post(self, path: str, body: Any, token: str | None = None, *, ip: str | None = None) -> httpx2.Response:
        return await self.api.post(path, body, token, ip=ip or new_address())

    async def ask(self, **options: Any) -> httpx2.Response:
        return await self.post(REQUEST, {"phone_number": self.number}, **options)

    async def challenge(self, **options: Any) -> str:
        answer = await self.ask(**options)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["challenge_id"])

    async def verify(self, challenge: str, code: str, *, ip: str | None = None, **more: Any) -> httpx2.Response:
        return await self.post(VERIFY, {"challenge_id": challenge, "code": code, **more}, ip=ip)

    async def sign_in(self, **more: Any) -> httpx2.Response:
        challenge = await self.challenge()
        return await self.verify(challenge, await self.code(), **more)

    async def fail(self, challenge: str, times: int) -> list[httpx2.Response]:
        wrong = other_than(await self.code())
        return [await self.verify(challenge, wrong) for _ in range(times)]

    async def fail_all_day(self) -> None:
        """Ten times, over three challenges."""
        for times in (5, 4, 1):
            assert [a.status_code for a in await self.fail(await self.challenge(), times)] == [401] * times
            self.api.clock.advance(61)

    async def texts(self) -> list[MessageRequested]:
        rows = await self.api.sql(
            "SELECT data FROM outbox WHERE type = 'MessageRequested' AND data->>'phone_number' = :phone ORDER BY id",
            phone=self.number,
        )
        return [MessageRequested.model_validate(row.data) for row in rows]

    async def code(self, which: int = -1) -> str:
        """What the message says, as notify would read it."""
        return secret_of(self.api, [text for text in await self.texts() if text.kind != "phone_undo"][which])


def secret_of(api: Api, message: MessageRequested) -> str:
    """As notify would read it."""
    assert message.secret is not None
    opened: str = api.app.state.cipher.decrypt(message.secret, f"message:{message.id}")
    return opened


def other_than(code: str) -> str:
    return f"{(int(code) + 1) % 10 ** len(code):0{len(code)}}"


def refusal(answer: httpx2.Response) -> tuple[Any, ...]:
    """All that a refused code shows, but the id of the request."""
    body = answer.json()
    body.pop("request_id")
    names = {"x-request-id", "x-request-duration", "x-database-queries", "x-query-time"}
    headers = {name: value for name, value in answer.headers.items() if name not in names}
    return answer.status_code, body, headers


async def together(*calls: Any) -> list[httpx2.Response]:
    return list(await asyncio.gather(*calls))


def count(name: str, **labels: str) -> float:
    """How often the codes of phones came to this."""
    return REGISTRY.get_sample_value(f"parley_phone_codes_{name}_total", labels) or 0.0


def withheld(reason: str, kind: str = "phone_code") -> float:
    """How many texts were not sent for it."""
    return REGISTRY.get_sample_value("parley_texts_withheld_total", {"kind": kind, "reason": reason}) or 0.0
