"""The tables of auth."""

from auth_service.models.accounts import ROLES, Export, ExternalIdentity, Identifier, OneTimeToken, Password, User
from auth_service.models.audit import AuditEvent
from auth_service.models.declarative import Base
from auth_service.models.factors import Ceremony, Passkey, PhoneCode, Quota, RecoveryCode, Throttle, Totp
from auth_service.models.people import Block, Contact, Location, Names, Presence
from auth_service.models.sessions import ApiToken, Device, Revocation, Session

__all__ = [
    "ROLES",
    "ApiToken",
    "AuditEvent",
    "Base",
    "Block",
    "Ceremony",
    "Contact",
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
