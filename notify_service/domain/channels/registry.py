"""Every provider there is, by its name."""

from collections.abc import Mapping
from dataclasses import replace

from notify_service.domain.channels import (
    Provider,
    discord,
    email,
    email_inbound,
    email_mailbox,
    fcm,
    inapp,
    slack,
    sms,
    telegram,
    telegram_bot,
    telegram_inbound,
    twilio,
    twilio_media,
    webhook,
    webpush,
    whatsapp,
    whatsapp_inbound,
    whatsapp_media,
    whatsapp_templates,
)

_ALL: tuple[Provider, ...] = (
    replace(email.PROVIDER, inbound=email_inbound.INBOUND, source=email_mailbox.opened),
    sms.PROVIDER,
    replace(twilio.PROVIDER, download=twilio_media.download_item),
    replace(
        telegram.PROVIDER,
        inbound=telegram_inbound.INBOUND,
        source=telegram_bot.opened,
        download=telegram_bot.download_item,
    ),
    replace(
        whatsapp.PROVIDER,
        inbound=whatsapp_inbound.INBOUND,
        templates=whatsapp_templates.fetch_templates,
        download=whatsapp_media.download_item,
    ),
    slack.PROVIDER,
    discord.PROVIDER,
    webpush.PROVIDER,
    fcm.PROVIDER,
    webhook.PROVIDER,
    inapp.PROVIDER,
)

PROVIDERS: Mapping[str, Provider] = {each.capability.provider: each for each in _ALL}
POLLED = frozenset(name for name, each in PROVIDERS.items() if each.source)
WITH_FILES = frozenset(name for name, each in PROVIDERS.items() if each.download)
CHANNELS = frozenset(each.capability.channel for each in _ALL)
OURS = frozenset(each.capability.channel for each in _ALL if each.ours)
