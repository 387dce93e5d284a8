"""The tables of auth."""

from auth_service.models.accounts import ROLES, Export, ExternalIdentity, Identifier, OneTimeToken, Password, User
from auth_service.models.audit import AuditEvent
from auth_service.models.declarative import Base
from auth_service.models.factors import Ceremony, Passkey, PhoneCode, Quota, RecoveryCode, Throttle, Totp
from auth_service.models.people import Block, Contact, Location, Names, Presence
from auth_service.models.sessions import ApiToken, Device, Revocation, Session
from auth_service.models.usage import ApiUsage, CountedBatch

__all__ = [
    "ROLES",
    "ApiToken",
    "ApiUsage",
    "AuditEvent",
    "Base",
    "Block",
    "Ceremony",
    "Contact",
    "CountedBatch",
    "Device",
    "Export",
    "ExternalIdentity",
    "Identifier",
    "Location",
    "Names",
    "OneTimeToken",
    "Passkey",
    "Password",
    "PhoneCode",
    "Presence",
    "Quota",
    "RecoveryCode",
    "Revocation",
    "Session",
    "Throttle",
    "Totp",
    "User",
]
