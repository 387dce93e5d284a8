"""Accounts of WhatsApp, with the businesses behind them."""

from typing import Any

import httpx2

from deploy.sandbox import whatsapp_hooks as hooks
from tests.notify.asking import Person, send
from tests.notify.desks import WhatsAppDesk
from tests.notify.world import eventually


class Number:
    """A WhatsApp account of ours, with the business behind it."""

    def __init__(self, admin: Person, api: httpx2.AsyncClient, desk: WhatsAppDesk, name: str) -> None:
        self.admin = admin
        self.desk = desk
        self.business = desk.business
        self.name = name
        self._api = api

    async def set_up(self, **config: Any) -> None:
        made = self.desk.setup()
        given = {"business_account_id": self.business.id, **config}
        body = {
            "name": self.name,
            "provider": "whatsapp",
            "config": {"phone_number_id": self.desk.number.id, "base_url": made.config.base_url, **given},
            "secrets": {"token": "parley", "app_secret": self.desk.whatsapp.options.app_secret},
        }
        answer = await self.admin.call("POST", "/accounts", json=body)
        assert answer.status_code == 201, answer.text

    async def tell(self, *items: Any) -> None:
        """Meta's call, in its shape and signed as it signs."""
        body, headers = hooks.pack(items, self.desk.whatsapp.options.app_secret)
        answer = await self._api.post(f"/hooks/whatsapp/{self.name}", content=body, headers=dict(headers))
        assert answer.status_code == 200

    async def templates(self, **query: Any) -> Any:
        return await self.admin.get(f"/accounts/{self.name}/templates", **query)

    async def status_of(self, name: str) -> str | None:
        found = {each["name"]: each["status"] for each in (await self.templates(limit=100))["results"]}
        return found.get(name)

    async def change(self, name: str, status: str, at: int) -> None:
        """At Meta, who tells of it."""
        template = self.business.templates[name, "en_US"]
        template.status = status
        await self.tell(hooks.template_status(self.business, template, at))

        async def known() -> bool:
            return await self.status_of(name) == status

        await eventually(known)

    async def send(self, *to: Any, **body: Any) -> Any:
        given = {"channel": "whatsapp", "content": {"template": {"name": "hello_world"}}, **body}
        return await send(self.admin, self.name, *to, **given)
