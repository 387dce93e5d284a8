"""The tables of notify."""

from libs import consumer, outbox
from notify_service.models.accounts import Account, QuotaPool, QuotaRecipient, QuotaUse, Suppression
from notify_service.models.audiences import Audience, AudienceMember, AudienceProblem
from notify_service.models.campaigns import Campaign
from notify_service.models.categories import Category, Digest, Throttle
from notify_service.models.declarative import Base
from notify_service.models.deliveries import Batch, Delivery, DeliveryAttempt
from notify_service.models.devices import Device
from notify_service.models.happenings import Happening
from notify_service.models.inbound import InboundFile, InboundMedia, InboundMessage, Polling, Thread, Told
from notify_service.models.inbox import Notification
from notify_service.models.people import Erasure, IdempotencyKey, Preference, Profile, QuietHours
from notify_service.models.provider_templates import ProviderTemplate, TemplateSync

__all__ = [
    "Account",
    "Audience",
    "AudienceMember",
    "AudienceProblem",
    "Base",
    "Batch",
    "Campaign",
    "Category",
    "Delivery",
    "DeliveryAttempt",
    "Device",
    "Digest",
    "Erasure",
    "Happening",
    "IdempotencyKey",
    "InboundFile",
    "InboundMedia",
    "InboundMessage",
    "Notification",
    "Polling",
    "Preference",
    "Profile",
    "ProviderTemplate",
    "QuietHours",
    "QuotaPool",
    "QuotaRecipient",
    "QuotaUse",
    "Suppression",
    "TemplateSync",
    "Thread",
    "Throttle",
    "Told",
]

outbox.add_tables(Base.metadata)
consumer.add_tables(Base.metadata)
