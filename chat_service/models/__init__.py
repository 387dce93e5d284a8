"""The tables of chat."""

from chat_service.models.conversations import Conversation, DirectPair, Event, Member
from chat_service.models.declarative import Base
from chat_service.models.messages import (
    Attachment,
    HiddenMessage,
    Mention,
    Message,
    MessageSearch,
    Pin,
    Reaction,
    Report,
    Revision,
    SavedMessage,
    ThreadMember,
)
from chat_service.models.people import Block, Doubt, Interest, Invisible, Profile, Sighting
from chat_service.models.work import Dispatch, Erasure, IdempotencyKey

__all__ = [
    "Attachment",
    "Base",
    "Block",
    "Conversation",
    "DirectPair",
    "Dispatch",
    "Doubt",
    "Erasure",
    "Event",
    "HiddenMessage",
    "IdempotencyKey",
    "Interest",
    "Invisible",
    "Member",
    "Mention",
    "Message",
    "MessageSearch",
    "Pin",
    "Profile",
    "Reaction",
    "Report",
    "Revision",
    "SavedMessage",
    "Sighting",
    "ThreadMember",
]
