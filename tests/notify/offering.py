"""One message over one channel, as a sender would send it."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from notify_service.domain.adaptation import adapted
from notify_service.domain.channels import Channel, Message, Outcome, Provider, Setup
from notify_service.domain.content import Content

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def opened(provider: Provider, config: dict[str, Any], secrets: dict[str, Any], *, inside: bool = True) -> Channel:
    """An account of a provider. `inside`: it may go to addresses on this machine."""
    setup = Setup(
        "account",
        provider.config.model_validate(config),
        provider.secrets.model_validate(secrets),
        private_networks=inside,
    )
    return provider.open(setup)


def message(address: str, content: Content | None = None, *, delivery: UUID | None = None, **given: Any) -> Message:
    values = {"template": None, "variables": {}, "secret": None, "at": NOW, **given}
    return Message(delivery or uuid4(), address, content=content, **values)


async def send(
    channel: Channel, address: str, *, delivery: UUID | None = None, at: datetime = NOW, **content: Any
) -> Outcome:
    """Raises CannotRender."""
    made = adapted(Content(**content), channel.capability)
    payload = channel.render(message(address, made, delivery=delivery, at=at))
    line = channel.line()
    try:
        await line.open()
        return await line.send(address, payload)
    finally:
        await line.close()
