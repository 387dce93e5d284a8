"""A conversation as a client keeps it: a snapshot, and events applied to it.

Every event says how things are now, not what is to be added: applying one twice, or an old one to a newer snapshot,
does no harm once those behind it have been applied too. So a snapshot is read after its position, in as many requests
as it takes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from parley_client.api import Api

Data = dict[str, Any]
_EXCERPT = 200
# What a message is to the reader alone: events say nothing of it.
_OWN = frozenset({"status", "is_read", "my_reactions", "saved"})
_DETAILS = ("name", "description", "image_url", "status", "version")


@dataclass
class LocalCopy:
    epoch: int
    seq: int
    """Number of the last event that is in here."""
    details: Data
    members: dict[str, str]
    """From user to role."""
    messages: dict[str, Data] = field(default_factory=dict)
    """By id; the newest hundred and what came since."""
    pins: set[str] = field(default_factory=set)
    """Ids of messages; one with a time to end at is told of when it ends."""

    @property
    def newest(self) -> list[Data]:
        """The messages, newest first."""
        return sorted(self.messages.values(), key=lambda message: -message["seq"])

    @classmethod
    async def read(cls, api: Api, conversation_id: str) -> "LocalCopy":
        """Raises ApiError, with 404 when the conversation is not one's own."""
        path = f"/api/v1/conversations/{conversation_id}"
        said = await api.call("GET", path)
        members = await api.pages(f"{path}/members")
        page = await api.call("GET", f"{path}/messages", limit=100, threads=True)
        return cls(
            epoch=said["epoch"],
            seq=said["event_seq"],
            details={name: said[name] for name in _DETAILS if name in said},
            members={member["user"]["id"]: member["role"] for member in members},
            messages={message["id"]: _shared(message) for message in page["results"]},
            pins={pin["message"]["id"] for pin in await api.pages(f"{path}/pins")},
        )

    def apply(self, seq: int, kind: str, data: Data) -> None:
        """Events come in the order of their numbers; a kind that is not known changes nothing but the position."""
        self.seq = seq
        change = _CHANGES.get(kind)
        if change is not None:
            change(self, data)

    def replace(self, message: Data) -> None:
        """A message as it was read over HTTP."""
        _message(self, _shared(message))


def _shared(message: Data) -> Data:
    return {name: value for name, value in message.items() if name not in _OWN}


def _message(copy: LocalCopy, data: Data) -> None:
    if data.get("veiled"):
        # Some who follow may not see it: its words are read over HTTP.
        return
    known = copy.messages.get(data["id"])
    if known is None or known["version"] <= data["version"]:
        copy.messages[data["id"]] = data
    thread = data.get("thread")
    if thread and thread["root_id"] in copy.messages and thread["root_id"] != data["id"]:
        _grow(copy.messages[thread["root_id"]], thread["seq"], data["created_at"])
    if data["deleted_at"] is not None:
        copy.pins.discard(data["id"])
    _requote(copy, data)


def _grow(root: Data, seq: int, at: str) -> None:
    """A reply says how long its thread is."""
    if seq > ((root.get("thread") or {}).get("last_seq") or 0):
        # Of a message that began one, the rest is the same for all.
        mine = {"root_id": root["id"], "seq": None, "also_in_conversation": False}
        root["thread"] = {**mine, "last_seq": seq, "last_reply_at": at}


def _requote(copy: LocalCopy, data: Data) -> None:
    """Whoever quotes the message shows what it says now."""
    for message in copy.messages.values():
        quote = message.get("reply_to")
        if quote and quote["id"] == data["id"]:
            quote["content"] = data["content"][:_EXCERPT]
            quote["deleted"] = data["deleted_at"] is not None


def _reaction(copy: LocalCopy, data: Data) -> None:
    message = copy.messages.get(data["message_id"])
    if message is None or message["deleted_at"] is not None:
        return
    counts = {reaction["emoji"]: reaction["count"] for reaction in message["reactions"]}
    counts[data["emoji"]] = data["count"]
    # In the order in which the server lists them: by length, then by bytes.
    ordered = sorted(counts.items(), key=lambda pair: (len(pair[0].encode()), pair[0].encode()))
    message["reactions"] = [{"emoji": emoji, "count": count} for emoji, count in ordered if count]


def _pin(copy: LocalCopy, data: Data) -> None:
    copy.pins.add(data["message_id"])


def _unpin(copy: LocalCopy, data: Data) -> None:
    copy.pins.discard(data["message_id"])


def _details(copy: LocalCopy, data: Data) -> None:
    copy.details |= {name: data[name] for name in _DETAILS if name in data}


def _added(copy: LocalCopy, data: Data) -> None:
    role: str = data.get("role", "member")
    copy.members |= dict.fromkeys(map(str, data["member_ids"]), role)


def _removed(copy: LocalCopy, data: Data) -> None:
    copy.members.pop(data["user_id"], None)


def _changed(copy: LocalCopy, data: Data) -> None:
    if data.get("role"):
        copy.members[data["user_id"]] = data["role"]


def _erased(copy: LocalCopy, data: Data) -> None:
    for message in copy.messages.values():
        if message["sender"]["id"] == data["sender_id"]:
            message["content"] = ""


_CHANGES: dict[str, Callable[[LocalCopy, Data], None]] = {
    "message.new": _message,
    "message.edited": _message,
    "message.deleted": _message,
    "messages.erased": _erased,
    "reaction.changed": _reaction,
    "message.pinned": _pin,
    "message.unpinned": _unpin,
    "conversation.changed": _details,
    "member.added": _added,
    "member.removed": _removed,
    "member.changed": _changed,
}
