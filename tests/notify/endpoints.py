"""A customer's program that hears what happens."""

from typing import Any

import httpx2

from tests.notify.asking import Person
from tests.notify.world import eventually


class Endpoint:
    """An account of ours, and the customer's program behind it."""

    def __init__(self, admin: Person, web: httpx2.AsyncClient, name: str) -> None:
        self.admin = admin
        self.name = name
        self.secret = ""
        self._web = web

    async def create(self, *events: str, **config: Any) -> None:
        whole = {"url": str(self._web.base_url.join(f"/webhooks/{self.name}")), "events": list(events), **config}
        body = {"name": self.name, "provider": "webhook", "config": whole}
        answer = await self.admin.call("POST", "/accounts", json=body)
        assert answer.status_code == 201, answer.text
        await self.learn(answer.json()["made"]["secret"])

    async def learn(self, secret: str) -> None:
        self.secret = secret
        answer = await self._web.put(f"/webhooks/{self.name}/secret", json={"secret": secret})
        assert answer.status_code == 204

    async def change(self, **given: Any) -> Any:
        answer = await self.admin.call("PATCH", f"/accounts/{self.name}", json=given)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def fail(self, **fault: Any) -> None:
        await self._web.post("/webhooks/faults", json={"match": self.name, **fault})

    async def recover(self) -> None:
        assert (await self._web.delete("/webhooks/faults")).status_code == 204

    async def hooks(self, **wanted: Any) -> list[Any]:
        """What came and was signed, oldest first; of it what is about the things that are named."""
        found = (await self._web.get("/webhooks/messages", params={"to": self.name})).json()["results"]
        signed = (each for each in reversed(found) if each["verified"])
        return [each for each in signed if wanted.items() <= each["body"]["data"].items()]

    async def heard(self, so_many: int = 1, **wanted: Any) -> list[Any]:
        """The bodies, once there are so many. What came again is known by its id."""

        async def check() -> list[Any] | None:
            found = {each["id"]: each["body"] for each in await self.hooks(**wanted)}
            return list(found.values()) if len(found) >= so_many else None

        return list(await eventually(check))
