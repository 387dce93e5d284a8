"""What a sender is told: the message as it was stored, or why it was not."""

from collections.abc import Callable, Mapping
from typing import Any

from chat_service.domain.drafts import NOTHING, Draft, Stored
from chat_service.domain.messages import loaded, person, quote
from chat_service.errors import (
    CannotPost,
    FilesNotAllowed,
    MayNotMentionAll,
    NoConversation,
    SlowMode,
    TooManyToMention,
    VoiceNotAllowed,
    invalid,
)
from libs.errors import ServiceError

_REFUSALS: Mapping[str, Callable[[], ServiceError]] = {
    "gone": NoConversation,
    "cannot_post": CannotPost,
    "files_not_allowed": FilesNotAllowed,
    "voice_not_allowed": VoiceNotAllowed,
    "may_not_mention_all": MayNotMentionAll,
    "too_many_to_mention": TooManyToMention,
    "reply_to": lambda: invalid("reply_to", "There is no such message in this conversation."),
    "thread_root_id": lambda: invalid("thread_root_id", "No thread can begin with this message."),
    "attachments": lambda: invalid("attachments", "One of the files does not exist or is in a message already."),
    "message_type": lambda: invalid("message_type", "This is not the type of the first attachment."),
    "mentions": lambda: invalid("mentions.user_ids", "One of the users is not a member."),
}


def of(draft: Draft, row: Any) -> Stored | ServiceError:
    """From a row of one of the two statements."""
    if row["id"] is None:
        return _REFUSALS[row["refusal"]]() if row["refusal"] else SlowMode(float(row["wait"]))
    stored = Stored(row["id"], row["seq"], row["event_seq"], row["created_at"], row["dup"])
    if not stored.dup:
        stored.message = _message(draft, row)
    return stored


def _message(draft: Draft, row: Any) -> dict[str, Any]:
    extras = draft.extras or NOTHING
    return {
        "id": str(draft.id),
        "conversation_id": str(draft.conversation_id),
        "seq": row["seq"],
        "sender": person(draft.sender_id, row),
        "message_type": row["type"] if draft.extras else "text",
        "content": draft.content,
        "attachments": loaded(row["attachments"]) if extras.attachments else [],
        "reply_to": quote(draft.reply_to, row),
        "thread": _thread(draft, row),
        "reactions": [],
        "mentions": extras.mentions.shown(),
        "importance": extras.importance,
        "priority": extras.priority,
        "forwarded_from": extras.forwarded_from,
        "client_msg_id": str(draft.client_msg_id or draft.id),
        "version": 1,
        "created_at": row["created_at"],
        "edited_at": None,
        "deleted_at": None,
    }


def _thread(draft: Draft, row: Any) -> dict[str, Any] | None:
    if draft.extras is None or draft.extras.thread_root_id is None:
        return None
    return {
        "root_id": str(draft.extras.thread_root_id),
        "seq": row["thread_seq"],
        "also_in_conversation": draft.extras.also_in_conversation,
        "last_seq": 0,
        "last_reply_at": None,
    }
