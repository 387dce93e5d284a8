"""An account of its own at a simulated provider, for tests of its channel."""

import secrets
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from deploy.sandbox.server import Sandbox
from deploy.sandbox.whatsapp_state import Chat
from notify_service.domain.adaptation import adapted
from notify_service.domain.channels import Message, Outcome, Setup
from notify_service.domain.channels.whatsapp import PROVIDER, Config, Secrets
from notify_service.domain.content import Content

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_phones = count(100_000_001)


def digits(length: int) -> str:
    return str(secrets.randbelow(9 * 10 ** (length - 1)) + 10 ** (length - 1))


def phone() -> str:
    """One that no other test writes to."""
    return f"+4915{next(_phones)}"


def message(address: str, *, delivery: UUID | None = None, **content: Any) -> Message:
    made = Content.model_validate(content)
    return Message(delivery or uuid4(), address, None, {}, None, NOW, content=adapted(made, PROVIDER.capability))


class WhatsAppDesk:
    """A business with one number, whose people are its own; nobody's tier or webhook but its own."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.whatsapp = sandbox.whatsapp
        self.business, self.number = self.whatsapp.add_number(digits(15), digits(15))
        self.business.tier = None
        self.url = f"http://127.0.0.1:{sandbox.http_port}"

    def setup(self, *, token: str = "parley", **config: Any) -> Setup:
        given = {
            "phone_number_id": self.number.id,
            "business_account_id": self.business.id,
            "base_url": f"{self.url}/whatsapp",
            **config,
        }
        secret = Secrets.model_validate({"token": token, "app_secret": self.whatsapp.options.app_secret})
        return Setup("test", Config.model_validate(given), secret)

    def writes(self, phone: str, text: str = "Hello?") -> Chat:
        """Somebody writes to the business, which may answer freely from then on."""
        person = self.whatsapp.person(phone)
        return self.whatsapp.write(self.number, person, type="text", content={"body": text}, text=text)

    async def send(
        self, address: str, *, setup: Setup | None = None, delivery: UUID | None = None, **content: Any
    ) -> Outcome:
        channel = PROVIDER.open(setup or self.setup())
        line = channel.line()
        try:
            await line.open()
            return await line.send(address, channel.render(message(address, delivery=delivery, **content)))
        finally:
            await line.close()

    def chats(self, phone: str) -> list[Chat]:
        """What the business sent to somebody, oldest first."""
        found = self.whatsapp.chats(number=self.number, person=self.whatsapp.person(phone))
        return [each for each in reversed(found) if each.ours]

    def texts(self, phone: str) -> list[str]:
        return [each.text for each in self.chats(phone)]
