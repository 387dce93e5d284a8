"""Notifications that are not in their inbox yet."""

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any
from uuid import UUID

TEMPLATE = "notification"
"""A delivery with this template says in its variables what shall be in the inbox, as `Draft.said` has it."""
_READER = ("id", "user_id", "dedupe_key", "read_at", "archived_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    user_id: UUID
    category: str
    title: str
    message: str
    priority: str = "normal"
    action_url: str | None = None
    image_url: str | None = None
    actor: dict[str, Any] | None = None
    related_object_type: str | None = None
    related_object_id: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
    dedupe_key: str | None = None
    id: UUID | None = None
    """Of what may be put in again and shall be there once; none: a new one."""
    read_at: datetime | None = None
    archived_at: datetime | None = None

    @property
    def said(self) -> dict[str, Any]:
        """All of it but whose it is, as JSON."""
        return {name: value for name in _SAID if (value := getattr(self, name)) is not None}


_SAID = tuple(each.name for each in fields(Draft) if each.name not in _READER)
