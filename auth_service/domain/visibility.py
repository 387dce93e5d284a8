"""Who may see what of whom: the one place that decides it, for what is shown and for what can be found."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, or_, true
from sqlalchemy.orm import aliased

from auth_service.models import Block, Contact, Identifier, User

Audience = Literal["everyone", "contacts", "nobody"]
Field = Literal["last_seen", "online", "email", "phone", "profile"]
FIELDS: tuple[Field, ...] = ("last_seen", "online", "email", "phone", "profile")
STAFF = frozenset({"support", "moderator", "admin"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """Who sees what; what somebody never chose is as here. An address that is not seen finds nobody either."""

    last_seen: Audience = "everyone"
    online: Audience = "everyone"
    email: Audience = "nobody"
    phone: Audience = "nobody"
    # Names, picture, about, language and time zone; username and number are always public.
    profile: Audience = "everyone"
    read_receipts: bool = True


_NAMES = frozenset(field.name for field in fields(Privacy))
_DEFAULT = Privacy()


@dataclass(frozen=True, slots=True)
class Viewer:
    user_id: UUID
    is_staff: bool = False
    is_admin: bool = False

    @classmethod
    def of(cls, user_id: UUID, roles: Collection[str]) -> "Viewer":
        return cls(user_id, is_staff=not STAFF.isdisjoint(roles), is_admin="admin" in roles)


def privacy(stored: Mapping[str, Any]) -> Privacy:
    return Privacy(**{name: value for name, value in stored.items() if name in _NAMES})


def sees(viewer: Viewer, field: Field) -> ColumnElement[bool]:
    """Whether the viewer sees this of a row of `users`. Who was blocked sees what nobody sees."""
    if viewer.is_staff:
        return true()
    audience = func.coalesce(User.privacy[field].astext, getattr(_DEFAULT, field))
    contact, block = aliased(Contact), aliased(Block)
    is_contact = exists().where(contact.user_id == User.id, contact.contact_id == viewer.user_id)
    is_blocked = exists().where(block.user_id == User.id, block.blocked_id == viewer.user_id)
    chosen = or_(audience == "everyone", and_(audience == "contacts", is_contact))
    return or_(User.id == viewer.user_id, and_(chosen, ~is_blocked, _proved(field)))


def _proved(field: Field) -> ColumnElement[bool]:
    """An address that nobody has confirmed may be somebody else's: it is shown to no stranger and finds nobody."""
    if field not in ("email", "phone"):
        return true()
    address = aliased(Identifier)
    return exists().where(address.user_id == User.id, address.kind == field, address.verified_at.is_not(None))


def exists_for(viewer: Viewer) -> ColumnElement[bool]:
    """Whether there is such a person for the viewer. Staff also meet those who are suspended or about to leave."""
    if viewer.is_staff:
        return User.status.in_(("active", "suspended"))
    return and_(User.status == "active", User.deletion_at.is_(None))


def unblocked(viewer: Viewer) -> ColumnElement[bool]:
    """Neither has blocked the other: people who did are not shown each other when they look for somebody."""
    block = aliased(Block)
    either = or_(
        and_(block.user_id == User.id, block.blocked_id == viewer.user_id),
        and_(block.user_id == viewer.user_id, block.blocked_id == User.id),
    )
    return true() if viewer.is_staff else ~exists().where(either)
