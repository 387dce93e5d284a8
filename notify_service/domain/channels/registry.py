"""Every provider there is, by its name."""

from collections.abc import Mapping
from dataclasses import replace

from notify_service.domain.channels import (
    Provider,
    discord,
    email,
    fcm,
    slack,
    sms,
    telegram,
    telegram_inbound,
    twilio,
    webhook,
    webpush,
    whatsapp,
    whatsapp_inbound,
    whatsapp_templates,
)

_ALL: tuple[Provider, ...] = (
    email.PROVIDER,
    sms.PROVIDER,
    twilio.PROVIDER,
    replace(telegram.PROVIDER, inbound=telegram_inbound.INBOUND),
    replace(whatsapp.PROVIDER, inbound=whatsapp_inbound.INBOUND, templates=whatsapp_templates.fetch_templates),
    slack.PROVIDER,
    discord.PROVIDER,
    webpush.PROVIDER,
    fcm.PROVIDER,
    webhook.PROVIDER,
)

PROVIDERS: Mapping[str, Provider] = {each.capability.provider: each for each in _ALL}
CHANNELS = frozenset(each.capability.channel for each in _ALL)
